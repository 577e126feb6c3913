// The law against what was measured: on the line where the law is right, and how far off else.
import { ROOM, axisX, axisY } from "../modules/axes.js";
import { number } from "../modules/format.js";
import { sizeScale } from "../modules/frame.js";
import { loss as lossOf } from "../laws/law.js";
import { lawOf, runsOf, study, whyNoLaw } from "../modules/study.js";
import { words } from "./loss_compute.js";

export const controls = [
  { name: "residuals", label: "residuals", value: false },
  { name: "log", label: "log axes", value: true },
];

export function lawMeasured(state, view) {
  const law = lawOf(view.loss);
  if (!law) return { chart: null, rows: [], note: whyNoLaw(view.loss) };
  const fitted = { ...view, size: study.size, flops: study.compute };
  const runs = runsOf(fitted).map((run) => ({ ...run, law: lossOf(law, run.N, run.D) }));
  const points = runs.map((run) => ({ ...run, y: state.residuals ? run.loss / run.law - 1 : run.loss }));
  const line = state.residuals ? Plot.ruleY([0]) : Plot.link(runs.length ? [d3.extent(runs, (run) => run.law)] : [], {
    x1: (ends) => ends[0], x2: (ends) => ends[1], y1: (ends) => ends[0], y2: (ends) => ends[1],
  });
  const chart = Plot.plot({
    width: state.width,
    height: 360,
    ...ROOM,
    color: sizeScale(study.size),
    x: axisX(state.log, runs.map((run) => run.law), state.width - 70, { label: `by the law (${study.unit})`, tickFormat: number }),
    y: state.residuals ? { label: "measured over law, less one", tickFormat: "+.0%" } : axisY(state.log, runs.map((run) => run.loss), 290, { label: `measured ${study.losses[view.loss]} (${study.unit})`, tickFormat: number }),
    marks: [
      line,
      Plot.dot(points, { x: "law", y: "y", fill: "N", r: 3.5 }),
      Plot.dot(points.filter((run) => run.id === view.run), { x: "law", y: "y", stroke: "var(--mark)", strokeWidth: 2, r: 7 }),
      Plot.tip(points, Plot.pointer({ x: "law", y: "y", title: (run) => `${words(run)}\nlaw = ${number(run.law)}`, fill: "var(--box)" })),
    ],
  });
  return { chart, brush: { runs: points, x: "law", y: "y" }, rows: runs.map(({ id, N, D, loss, law: by }) => ({ id, N, D, loss, law: by })) };
}
