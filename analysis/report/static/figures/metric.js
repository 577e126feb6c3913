// The metric flip: the same runs by the smooth loss and by the share of fully correct answers.
import { ROOM, axisC, axisY } from "../modules/axes.js";
import { sizeScale } from "../modules/frame.js";
import { number } from "../modules/format.js";
import { runsOf, study } from "../modules/study.js";
import { words } from "./loss_compute.js";

export const controls = [
  { name: "metric", label: "metric", options: { match: "exact match", loss: "loss" }, value: "match" },
  { name: "xlog", label: "log x", value: true },
];

export function metricFlip(state, view) {
  const runs = runsOf(view).filter((run) => run.match !== null);
  const byLoss = state.metric === "loss";
  const chart = Plot.plot({
    width: state.width,
    height: 340,
    ...ROOM,
    color: sizeScale(view.size),
    x: axisC(state.xlog, runs.map((run) => run.C), state.width - 70, study.flops[view.flops]),
    y: byLoss ? axisY(true, runs.map((run) => run.loss), 270, { label: `${study.losses[view.loss]} (${study.unit})`, tickFormat: number }) : { domain: [0, 1], label: "exact match (share)" },
    marks: [
      Plot.dot(runs, { x: "C", y: state.metric, fill: "N", r: 3.5 }),
      Plot.dot(runs.filter((run) => run.id === view.run), { x: "C", y: state.metric, stroke: "var(--mark)", strokeWidth: 2, r: 7 }),
      Plot.tip(runs, Plot.pointer({ x: "C", y: state.metric, title: (run) => `${words(run)}\nexact match = ${number(run.match)}`, fill: "var(--box)" })),
    ],
  });
  return { chart, brush: { runs, x: "C", y: state.metric }, rows: runs.map(({ id, N, D, C, loss, match }) => ({ id, N, D, C, loss, match })) };
}
