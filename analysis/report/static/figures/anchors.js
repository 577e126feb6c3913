// Anchors: choose cheap runs, the law is fitted to them as you click, and forecasts what the dear ones would reach.
import { ROOM, axisC, axisY } from "../modules/axes.js";
import { number, percent } from "../modules/format.js";
import { element, sizeScale } from "../modules/frame.js";
import { fit, refits } from "../laws/fit.js";
import { loss as lossOf, lossOpt } from "../laws/law.js";
import { runsOf, study } from "../modules/study.js";

const CHEAP = 0.6; // of the cells are anchors at first, by compute
const FARTHEST = 1000; // times the compute of the dearest anchor
const REFITS = 60;
const LEVEL = 0.9;
const chosen = new Map(); // loss -> keys of the cells that are anchors

export const controls = [{ name: "reveal", label: "reveal the other runs", value: false }];

export function anchors(state, view) {
  const fitted = { ...view, size: study.size, flops: study.compute };
  const cells = cellsOf(runsOf(fitted));
  const keys = chosen.get(view.loss) ?? cheapest(cells);
  const near = cells.filter((cell) => keys.has(cell.key)).map((cell) => ({ ...cell, shown: cell.loss }));
  const far = cells.filter((cell) => !keys.has(cell.key));
  const floor = floorOf(study.studies[view.loss].convention.E);
  const points = near.flatMap((cell) => cell.runs);
  const law = fit(points, floor);
  const band = law.refused ? [] : forecast(law, points, floor, Math.max(...near.map((cell) => cell.C)));
  const chart = element("div");
  chart.append(drawn(state, view, { near, far, law, band }), element("p", { class: "answer" }, answer(state, law, near, far)));
  const click = (cell) => {
    const next = new Set(keys);
    if (!next.delete(cell.key)) next.add(cell.key);
    chosen.set(view.loss, next);
  };
  return { chart, click, rows: cells.map(({ N, D, C, loss, key }) => ({ N, D, C, loss, anchor: String(keys.has(key)) })) };
}

function drawn(state, view, { near, far, law, band }) {
  const dots = { x: "C", y: "loss", r: 5 };
  const high = [...near, ...far].map((cell) => (state.reveal ? cell.loss : cell.shown)).concat(band.flatMap(({ loss, low, high: top }) => [loss, low, top]));
  return Plot.plot({
    width: state.width,
    height: 380,
    ...ROOM,
    color: sizeScale(study.size),
    x: axisC(true, [...near, ...far, ...band].map((at) => at.C), state.width - 70, study.flops[study.compute]),
    y: axisY(true, high, 310, { label: `${study.losses[view.loss]} (${study.unit})`, tickFormat: number }),
    marks: [
      Plot.areaY(band, { x: "C", y1: "low", y2: "high", fill: "var(--mark)", fillOpacity: 0.15 }),
      Plot.line(band, { x: "C", y: "loss", stroke: "var(--mark)", strokeDasharray: "5 4" }),
      Plot.dot(near, { ...dots, fill: "N" }),
      Plot.dot(far, { ...dots, ...(state.reveal ? { stroke: "N", strokeWidth: 1.5 } : { y: "shown", stroke: "var(--soft)", r: 4 }) }),
      ...(state.reveal && !law.refused ? [Plot.link(far, missed(law))] : []),
      Plot.tip([...near, ...far], Plot.pointer({ x: "C", y: state.reveal ? "loss" : "shown", title: words(state), fill: "var(--box)" })),
    ],
  });
}

function missed(law) {
  return { x1: "C", x2: "C", y1: "loss", y2: (cell) => lossOf(law, cell.N, cell.D), stroke: "var(--soft)" };
}

// Cells of one N and budget; D and C are means over seeds and the loss is the geometric mean. `shown` is where a hidden one is drawn.
export function cellsOf(runs) {
  const groups = d3.groups(runs, (run) => `${run.N} ${run.budget}`);
  const worst = Math.max(...runs.map((run) => run.loss));
  return groups.map(([key, members]) => {
    const loss = Math.exp(d3.mean(members, (run) => Math.log(run.loss)));
    const [D, C] = ["D", "C"].map((axis) => d3.mean(members, (run) => run[axis]));
    const { N } = members[0];
    return { key, N, D, C, loss, shown: worst * 1.2, runs: members };
  });
}

function cheapest(cells) {
  const sorted = [...cells].sort((a, b) => a.C - b.C);
  return new Set(sorted.slice(0, Math.ceil(CHEAP * sorted.length)).map((cell) => cell.key));
}

// E of fits.json: known (then the loss is an excess over it, and E is 0), free, or held as `= 1.7`.
export function floorOf(text) {
  return text === "free" ? null : text === "known" ? 0 : Number(text.slice(1));
}

function forecast(law, points, floor, dearest) {
  const laws = refits(points, law, floor, REFITS);
  return d3.range(61).map((at) => {
    const C = dearest * FARTHEST ** (at / 60);
    const losses = laws.map((one) => lossOpt(one, C)).sort(d3.ascending);
    const [low, high] = [(1 - LEVEL) / 2, (1 + LEVEL) / 2].map((share) => d3.quantileSorted(losses, share));
    return { C, loss: lossOpt(law, C), low, high };
  });
}

function answer(state, law, near, far) {
  if (law.refused) return `No law by ${near.length} anchors: ${law.refused}.`;
  const formula = `L = ${number(law.E)} + ${number(law.A)}/N^${law.alpha.toFixed(3)} + ${number(law.B)}/D^${law.beta.toFixed(3)}`;
  const known = `By ${near.length} anchors ${formula}. Dashed is its best loss up to ${FARTHEST} times the compute, with the middle ${percent(LEVEL)} of ${REFITS} refits to resampled cells.`;
  if (!state.reveal || !far.length) return `${known} Click a dot to make it an anchor or not.`;
  const squares = far.map((cell) => Math.log(lossOf(law, cell.N, cell.D) / cell.loss) ** 2);
  return `${known} It misses the ${far.length} other cells by ${percent(Math.sqrt(d3.mean(squares)))} (root mean square of log loss).`;
}

function words(state) {
  return (cell) => `N = ${number(cell.N)}\nD = ${number(cell.D)}\nC = ${number(cell.C)}${state.reveal || cell.shown === cell.loss ? `\nloss = ${number(cell.loss)}` : ""}`;
}
