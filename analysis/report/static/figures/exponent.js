// What an exponent means: the loss above its floor against N, or the only variable of a table, on linear and on log
// axes, with one's own exponent marked.
import { ROOM, axisX, axisY } from "../modules/axes.js";
import { metric, percent } from "../modules/format.js";
import { element } from "../modules/frame.js";
import { exponentOf, study } from "../modules/study.js";

const TIMES = 1000; // as far as the sizes are multiplied
const WORDS = { N: "parameters", D: "tokens", C: "compute" };

export function controlsOf() {
  const law = exponentOf(Object.keys(study.losses)[0]);
  const value = law ? Number(law.alpha.toFixed(3)) : 0.34;
  return [{ name: "alpha", label: "exponent", min: 0.02, max: 1, step: 0.001, value, say: (alpha) => alpha.toFixed(3) }];
}

export function exponent(state, view) {
  const law = exponentOf(view.loss);
  const steps = d3.range(121).map((at) => TIMES ** (at / 120));
  const curve = (alpha, of) => steps.map((times) => ({ times, left: times ** -alpha, alpha, of }));
  const own = law ? curve(law.alpha, "these runs") : [];
  const chosen = curve(state.alpha, "slider");
  const width = Math.min(360, state.width / (state.width > 560 ? 2.1 : 1));
  const panel = (log) =>
    Plot.plot({
      width,
      height: 240,
      ...ROOM,
      inset: 0,
      x: axisX(log, [1, TIMES], width - 70, { label: `times the ${WORDS[study.variable || "N"]}`, tickFormat: metric }),
      y: axisY(log, [log ? 0.01 : 0, 1], 180, { label: "share of the loss above its floor", domain: [log ? 0.01 : 0, 1], tickFormat: percent }),
      marks: [
        Plot.line(own, { x: "times", y: "left", stroke: "currentColor", strokeDasharray: "5 4", clip: true }),
        Plot.line(chosen, { x: "times", y: "left", stroke: "var(--mark)", strokeWidth: 2.5, clip: true }),
      ],
    });
  const chart = element("div", { class: "panels" });
  chart.append(panel(false), panel(true), element("p", { class: "answer" }, answer(state.alpha, law)));
  return { chart, rows: [...chosen, ...own] };
}

function answer(alpha, law) {
  const of = study.variable || "N";
  const buys = (one) => percent(1 - 10 ** -one);
  const own = law ? ` The dashed line is the law of these runs: ${law.alpha.toFixed(3)}, and ten times ${of} takes ${buys(law.alpha)}.` : "";
  return `At this exponent ten times ${of} takes ${buys(alpha)} off the loss above its floor.${own}`;
}
