// Bowls: the loss against one setting, a panel a budget, a line a cell, with the lowest points of fits.json.
import { ROOM, axisX, axisY } from "../modules/axes.js";
import { metric, number } from "../modules/format.js";
import { element, sizeScale } from "../modules/frame.js";
import { study } from "../modules/study.js";

const FAR_ABOVE = 2; // times the lowest of a bowl: beyond, a loss would flatten all bowls to lines
const LEAST_WIDTH = 230; // pixels of a panel
const GAP = 8; // pixels between panels
const INSIDE = "interior";

// The settings with bowls in any loss: name -> the figure that shows them.
export function settingsWithBowls() {
  const found = Object.values(study.studies).flatMap((of) => Object.entries(of.bowls ?? {}));
  return new Map(found.map(([setting, { figure }]) => [setting, figure]));
}

export function controlsOf(setting) {
  const budgets = new Set(Object.values(study.studies).flatMap((of) => of.bowls?.[setting]?.budget ?? []));
  const options = { all: "all", ...Object.fromEntries([...budgets].sort(d3.ascending).map((at) => [keyOf(at), metric(at)])) };
  return [
    ...(budgets.size > 1 ? [{ name: "budget", label: "D", options, value: "all" }] : []),
    { name: "relative", label: "over each lowest", value: false },
    { name: "xlog", label: "log x", value: true },
    { name: "ylog", label: "log y", value: true },
    { name: "whole", label: "also far losses", value: false },
  ];
}

// No number, because these come first among the keys of an object.
function keyOf(budget) {
  return `D${budget}`;
}

export function bowls(setting, state, view) {
  const bowl = study.studies[view.loss].bowls?.[setting];
  if (!bowl) return { chart: null, rows: [], note: `No cell has two values of ${setting} with a ${view.loss}.` };
  const lowest = lowestOf(study.studies[view.loss].hyperparameters[setting].optima, view);
  const points = pointsOf(bowl, state, view, lowest);
  const panels = [...d3.group(points, (point) => point.budget)].sort((a, b) => a[0] - b[0]);
  const most = Math.max(1, Math.min(panels.length, Math.floor(state.width / LEAST_WIDTH)));
  const columns = Math.ceil(panels.length / Math.ceil(panels.length / most)); // rows of about the same length
  const size = { width: Math.floor(state.width / columns) - GAP, height: panels.length > 1 ? 240 : 380 };
  const chart = element("div", { class: "panels" });
  const domain = d3.extent(points, (point) => point.value);
  panels.forEach(([budget, inside], at) => {
    const stars = lowest.filter((row) => row.budget === budget && row.best > 0 && inside.some((point) => point.bowl === row.bowl));
    chart.append(panel(setting, state, view, { inside, stars, domain, budget, first: at === 0, ...size }));
  });
  const rows = points.map(({ id, N, D, batch, value, loss }) => ({ id, N, D, ...(batch === null ? {} : { batch }), [setting]: value, loss }));
  return { chart, rows, brush: panels.map(([, runs]) => ({ runs, x: "value", y: "y" })), note: note(state) };
}

function lowestOf(optima) {
  return optima.map((row) => ({ ...row, bowl: key(row.size, row.budget, row.batch) }));
}

function key(size, budget, batch) {
  return `${size} ${budget} ${batch ?? ""}`;
}

// A point a run; where it is the lowest over another setting it is no run, and has neither id nor seed.
function pointsOf(bowl, state, view, lowest) {
  const { runs } = study;
  const bottoms = new Map(lowest.filter((row) => row.loss !== null).map((row) => [row.bowl, row.loss]));
  const points = bowl.value.map((value, at) => {
    const [row, size, budget, batch, loss] = [bowl.run[at], bowl.size[at], bowl.budget[at], bowl.batch[at], bowl.loss[at]];
    const of = key(size, budget, batch);
    const known = row !== null;
    const more = known ? { id: runs.run_id[row], seed: runs.seed?.[row] ?? null, N: runs[study.size][row], D: runs.tokens[row] } : { id: null, N: size, D: budget };
    return { ...more, shown: known ? runs[view.size][row] : size, size, budget, batch, value, loss, bowl: of, bottom: bottoms.get(of) };
  });
  const least = d3.rollup(points, (of) => d3.min(of, (point) => point.loss), (point) => point.bowl); // of a bowl without a minimum
  return points
    .filter((point) => point.loss > 0 && !view.hidden.has(point.shown) && (!view.only || view.only.has(point.id)))
    .filter((point) => (state.budget ?? "all") === "all" || keyOf(point.budget) === state.budget)
    .filter((point) => !state.xlog || point.value > 0)
    .map((point) => ({ ...point, y: state.relative ? point.loss / (point.bottom ?? least.get(point.bowl)) : point.loss }))
    .filter((point) => point.y > 0);
}

function panel(setting, state, view, { inside, stars, domain, budget, first, width, height }) {
  const top = state.whole ? Infinity : FAR_ABOVE ** 0.1 * d3.max([...d3.group(inside, (point) => point.bowl).values()], (of) => {
    const bottom = d3.min(of, (point) => point.y);
    return d3.max(of.filter((point) => point.y <= FAR_ABOVE * bottom), (point) => point.y);
  });
  const marks = stars.map((row) => ({ ...row, y: state.relative ? 1 : row.loss }));
  const shown = [...inside.map((point) => point.y).filter((y) => y <= top), ...marks.map((mark) => mark.y)];
  const label = state.relative ? "loss over the lowest" : `${study.losses[view.loss]} (${study.unit})`;
  const at = { x: "value", y: "y" };
  return Plot.plot({
    width,
    height,
    marginTop: 34,
    ...ROOM,
    color: { ...sizeScale(study.size), ...(first ? {} : { legend: false }) },
    x: axisX(state.xlog, domain, width - 60, { label: setting, tickFormat: number, domain }),
    y: axisY(state.ylog, shown, height - 70, { label: first ? label : null, tickFormat: number, domain: d3.extent(shown), nice: !state.ylog }),
    marks: [
      Plot.text([`D = ${metric(budget)}`], { frameAnchor: "top-right", dy: -28, fontWeight: 600 }),
      Plot.line(means(inside), { ...at, z: "bowl", stroke: "N", strokeWidth: 1.3, clip: true }),
      Plot.dot(inside, { ...at, fill: "N", r: 2.5, fillOpacity: (point) => (view.run !== null && view.run !== point.id ? 0.35 : 1), clip: true }),
      Plot.dot(marks, { x: "best", y: "y", symbol: symbolOf, r: height > 300 ? 6 : 4, fill: (row) => (row.status === INSIDE ? "#d55e00" : "var(--back)"), stroke: "#d55e00", strokeWidth: 1.3 }),
      Plot.dot(inside.filter((point) => point.id !== null && point.id === view.run), { ...at, stroke: "var(--mark)", strokeWidth: 2, r: 7, clip: true }),
      Plot.tip(inside, Plot.pointer({ ...at, title: words(setting), fill: "var(--box)" })),
    ],
  });
}

function symbolOf(row) {
  return row.status === INSIDE ? "star" : "triangle";
}

// Geometric means over seeds, in the order of the setting.
function means(points) {
  const groups = d3.groups(points, (point) => point.bowl, (point) => point.value);
  const found = groups.flatMap(([bowl, values]) =>
    values.map(([value, members]) => ({ bowl, value, N: members[0].N, y: Math.exp(d3.mean(members, (point) => Math.log(point.y))) })),
  );
  return found.sort((a, b) => a.value - b.value);
}

function words(setting) {
  return (point) => {
    const lines = [`N = ${number(point.N)}`, `D = ${number(point.D)}`, ...(point.batch === null ? [] : [`batch = ${number(point.batch)}`])];
    const seed = point.seed === null || point.seed === undefined ? [] : [`seed = ${point.seed}`];
    return [point.id ?? "the lowest over the other setting", ...lines, ...seed, `${setting} = ${number(point.value)}`, `loss = ${number(point.loss)}`].join("\n");
  };
}

function note(state) {
  const known = "Stars are the lowest points of parabolas; open triangles are lowest values at an edge, which are not fitted.";
  const hidden = state.whole ? "" : ` Losses more than ${FAR_ABOVE} times the lowest of their bowl may lie above.`;
  return known + hidden;
}
