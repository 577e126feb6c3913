// Loss against compute or tokens: the curve and the end of every run, the lower envelope, and the law's best.
import { ROOM, axisC, axisX, axisY } from "../modules/axes.js";
import { metric, number } from "../modules/format.js";
import { sizeScale } from "../modules/frame.js";
import { lossOpt } from "../laws/law.js";
import { asFitted, curvesOf, lawOf, runsOf, study } from "../modules/study.js";

export function controlsOf() {
  return [
    { name: "along", label: "against", options: { C: "compute", D: "tokens" }, value: "C" },
    ...(study.curves ? [{ name: "curves", label: "curves", value: true }] : []),
    { name: "xlog", label: "log x", value: true },
    { name: "ylog", label: "log y", value: true },
  ];
}

export function lossCompute(state, view) {
  const runs = runsOf(view);
  const curves = state.curves ? curvesOf(view, runs) : [];
  const labels = { C: study.flops[view.flops], D: "D (training tokens)" };
  const shown = [...runs, ...curves];
  const across = shown.map((point) => point[state.along]);
  const ends = { x: state.along, y: "loss", stroke: "N" };
  const chart = Plot.plot({
    width: state.width,
    height: 400,
    ...ROOM,
    color: sizeScale(view.size),
    x: state.along === "C" ? axisC(state.xlog, across, state.width - 70, labels.C) : axisX(state.xlog, across, state.width - 70, { label: labels.D, tickFormat: metric }),
    y: axisY(state.ylog, shown.map((point) => point.loss), 330, { label: `${study.losses[view.loss]} (${study.unit})`, tickFormat: number }),
    marks: [
      Plot.line(curves, { ...ends, z: "id", strokeWidth: 1, strokeOpacity: (point) => (faded(view, point) ? 0.15 : 0.6) }),
      ...frontier(state, view, runs),
      Plot.dot(runs, { ...ends, fill: "N", r: 3, fillOpacity: (run) => (faded(view, run) ? 0.2 : 0.9), stroke: null }),
      Plot.dot(runs.filter((run) => run.id === view.run), { ...ends, stroke: "var(--mark)", strokeWidth: 2, r: 7 }),
      Plot.line(curves.filter((point) => point.id === view.run), { ...ends, stroke: "var(--mark)", strokeWidth: 2.5 }),
      Plot.tip(runs, Plot.pointer({ x: state.along, y: "loss", title: words, fill: "var(--box)" })),
    ],
  });
  return { chart, rows: runs.map(({ id, N, D, C, loss }) => ({ id, N, D, C, loss })), brush: { runs, x: state.along, y: "loss" }, note: note(state, view) };
}

function note(state, view) {
  const known = "Every run by itself: click one to pin it, drag to keep some.";
  if (state.along !== "C" || !asFitted(view)) return `${known} The envelope and the law are drawn against compute, in the convention of fits.json.`;
  const envelope = study.studies[view.loss].envelope.refused ? "" : " Orange are values of the lower envelope that are used in its fit.";
  const law = lawOf(view.loss) && view.flops === "flops_6nd" ? " Dashed is the best loss by the law." : "";
  return known + envelope + law;
}

function faded(view, point) {
  return view.run !== null && point.id !== view.run;
}

// The envelope's optima and the law are those of fits.json, so they are shown in its convention only.
function frontier(state, view, runs) {
  if (state.along !== "C" || !asFitted(view)) return [];
  const fitted = study.studies[view.loss];
  const marks = [];
  if (!fitted.envelope.refused) {
    // Without curves they are runs themselves, and a ring leaves the run's colour.
    const style = study.curves ? { fill: "#e69f00", r: 2.5, stroke: null } : { stroke: "#e69f00", strokeWidth: 1.5, r: 5.5 };
    marks.push(Plot.dot(fitted.envelope.optima, { x: "flops", y: "loss", ...style }));
  }
  const law = lawOf(view.loss);
  if (law && view.flops === "flops_6nd") {
    const [low, high] = d3.extent(runs, (run) => run.C);
    const path = d3.range(61).map((at) => low * (high / low) ** (at / 60));
    const line = path.map((C) => ({ C, loss: lossOpt(law, C) }));
    marks.push(Plot.line(line, { x: "C", y: "loss", stroke: "currentColor", strokeWidth: 1.5, strokeDasharray: "5 4" }));
  }
  return marks;
}

export function words(run) {
  return [
    run.id,
    `N = ${number(run.N)}`,
    `D = ${number(run.D)}`,
    `C = ${number(run.C)}`,
    `loss = ${number(run.loss)}`,
  ].join("\n");
}
