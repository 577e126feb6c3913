// IsoFLOP split: one compute, many sizes. How much loss each gives up, by the law of these runs and by Hoffmann's.
import { ROOM, axisX } from "../modules/axes.js";
import { metric } from "../modules/format.js";
import { element } from "../modules/frame.js";
import { HOFFMANN, excess, paramsOpt, tokensOpt } from "../laws/law.js";
import { lawOf, study } from "../modules/study.js";

const REACH = 100; // sizes below and above the optimum, as a factor

export function controlsOf() {
  const [low, high] = study.studies[Object.keys(study.losses)[0]].range.flops.map(Math.log10);
  const say = (power) => `${(10 ** power).toExponential(1).replace("e+", "e")} FLOP`;
  return [
    { name: "power", label: "compute", min: low, max: high + 3, step: 0.01, value: Number(high.toFixed(2)), say },
    { name: "shift", label: "size over the optimum", min: -2, max: 2, step: 0.01, value: 0, say: (shift) => `${(10 ** shift).toPrecision(3)} x` },
  ];
}

export function split(state, view) {
  const law = lawOf(view.loss);
  const C = 10 ** state.power;
  const laws = [...(law ? [["these runs", law]] : []), ["Hoffmann et al. 2022", HOFFMANN]];
  const rows = laws.flatMap(([of, one]) => slice(one, C).map((point) => ({ of, ...point })));
  const picked = laws.map(([of, one]) => ({ of, ...pointAt(one, C, paramsOpt(one, C) * 10 ** state.shift) }));
  const plot = Plot.plot({
    width: state.width,
    height: 320,
    ...ROOM,
    color: { domain: ["these runs", "Hoffmann et al. 2022"], range: ["#d55e00", "#0072b2"], legend: true },
    x: axisX(true, rows.map((row) => row.N), state.width - 70, { label: "N (parameters)", tickFormat: metric }),
    y: { label: "loss given up, of that above the floor", tickFormat: ".0%", domain: [0, 1] },
    marks: [
      Plot.line(rows, { x: "N", y: "gap", stroke: "of", strokeWidth: 2, clip: true }),
      Plot.dot(picked, { x: "N", y: "gap", fill: "of", r: 5, clip: true }),
      Plot.tip(rows, Plot.pointer({ x: "N", y: "gap", title: (point) => `${point.of}\n${words(point)}`, fill: "var(--box)" })),
    ],
  });
  const chart = element("div");
  const told = picked.map((point) => `By ${point.of}: ${words(point).replaceAll("\n", ", ")}.`).join(" ");
  chart.append(plot, element("p", { class: "answer" }, told));
  return { chart, rows };
}

function slice(law, C) {
  const best = paramsOpt(law, C);
  return d3.range(161).map((at) => pointAt(law, C, best * REACH ** (at / 80 - 1)));
}

function pointAt(law, C, N) {
  const D = C / (6 * N);
  const least = excess(law, paramsOpt(law, C), tokensOpt(law, C));
  return { N, D, ratio: D / N, gap: Math.max(0, excess(law, N, D) / least - 1) };
}

function words(point) {
  return `N = ${metric(point.N)}\nD = ${metric(point.D)}\n${metric(point.ratio)} tokens per parameter\n${(100 * point.gap).toFixed(1)} % of the loss above the floor given up`;
}
