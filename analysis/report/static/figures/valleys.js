// IsoFLOP valleys: loss against size at equal compute, with the minima of fits.json.
import { ROOM, axisX, axisY, colourBar, powerOfTen } from "../modules/axes.js";
import { metric, number } from "../modules/format.js";
import { shade } from "../modules/frame.js";
import { asFitted, runsOf, study } from "../modules/study.js";

export const controls = [
  { name: "xlog", label: "log x", value: true },
  { name: "ylog", label: "log y", value: true },
  { name: "relative", label: "above each minimum", value: false },
];

export function valleys(state, view) {
  const fitted = study.studies[view.loss];
  const shown = asFitted(view) ? fitted.valleys : [];
  const lowest = new Map(shown.map((valley) => [valley.flops, Math.min(...valley.loss)]));
  const scale = (flops) => (state.relative ? (lowest.get(flops) ?? 1) : 1);
  const points = shown.flatMap((valley) =>
    valley.params.map((N, at) => ({
      C: valley.flops, N, D: valley.tokens[at], loss: valley.loss[at], y: valley.loss[at] / scale(valley.flops),
    })),
  );
  const optima = asFitted(view) ? (fitted.isoflop_parabola.optima ?? []) : [];
  const minima = optima.map((row) => ({ ...row, y: row.loss / scale(row.flops) }));
  const pinned = runsOf(view).find((run) => run.id === view.run);
  const chart = Plot.plot({
    width: state.width,
    height: 380,
    ...ROOM,
    color: { type: "log", interpolate: shade(d3.interpolateCividis), ...colourBar(points.map((point) => point.C), study.flops[view.flops], powerOfTen) },
    x: axisX(state.xlog, points.map((point) => point.N), state.width - 70, { label: study.sizes[view.size] ?? "N (parameters)", tickFormat: metric }),
    y: axisY(state.ylog, [...points, ...minima].map((point) => point.y), 310, {
      label: state.relative ? "loss over the lowest of its valley" : `${study.losses[view.loss]} (${study.unit})`,
      tickFormat: number,
    }),
    marks: [
      Plot.line(points, { x: "N", y: "y", stroke: "C", z: "C", strokeWidth: 1.4 }),
      Plot.dot(points, { x: "N", y: "y", fill: "C", r: 2.5 }),
      Plot.dot(minima, { x: "params", y: "y", symbol: "star", r: 6, fill: (row) => (row.status === "interior" ? "#d55e00" : "none"), stroke: "#d55e00" }),
      ...(pinned ? [Plot.ruleX([pinned], { x: "N", stroke: "var(--mark)" })] : []),
      ...(asFitted(view) ? [] : [Plot.text(["Valleys are computed in the convention of fits.json only."], { frameAnchor: "middle" })]),
      Plot.tip(points, Plot.pointer({ x: "N", y: "y", title: words, fill: "var(--box)" })),
    ],
  });
  return { chart, rows: points.map(({ C, N, D, loss }) => ({ C, N, D, loss })) };
}

function words(point) {
  return `C = ${number(point.C)}\nN = ${number(point.N)}\nD = ${number(point.D)}\nloss = ${number(point.loss)}`;
}
