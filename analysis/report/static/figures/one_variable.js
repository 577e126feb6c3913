// The law of one variable: the runs, the law with the band of its resamples, and the forecast of the largest.
import { ROOM, axisC, axisX, axisY } from "../modules/axes.js";
import { metric, number, percent } from "../modules/format.js";
import { study } from "../modules/study.js";

const BEYOND = 10; // times the largest value: how far the law is drawn, as in the static figure
const POINTS = 121;
const COLOURS = { runs: "#0072b2", law: "#d55e00", band: "#f0bfa0", forecast: "#e69f00" };
const LABELS = { N: "N (parameters)", D: "D (training tokens)", C: "C (FLOP)" };

export const controls = [
  { name: "show", label: "show", options: { loss: "loss", above: "loss above the floor", residual: "residual" }, value: "loss" },
  { name: "xlog", label: "log x", value: true },
  { name: "ylog", label: "log y", value: true },
];

export function keys(_, view) {
  const law = study.studies[view.loss].one_variable;
  const parts = { runs: "runs", law: "law", band: "band", forecast: "forecast" };
  if (!bandOf(law, [1], study.studies[view.loss].convention.level)) delete parts.band;
  if (law.forecast?.refused) delete parts.forecast;
  return Object.entries(parts).map(([key, label]) => ({ key, label, colour: COLOURS[key] }));
}

export function lossAt(law, x) {
  return law.E + law.A * x ** -law.alpha;
}

// [{x, low, high}] of the resampled laws at these x; null where they are too few for the level.
export function bandOf(law, grid, level) {
  const { E = [], A = [], alpha = [] } = law.resamples ?? {};
  if (alpha.length < Math.ceil(2 / (1 - level) - 1e-9)) return null;
  return grid.map((x) => {
    const losses = Float64Array.from(alpha, (exponent, at) => E[at] + A[at] * x ** -exponent).sort();
    return { x, low: d3.quantileSorted(losses, (1 - level) / 2), high: d3.quantileSorted(losses, (1 + level) / 2) };
  });
}

export function oneVariable(state, view) {
  const { one_variable: law, convention } = study.studies[view.loss];
  const used = new Set(study.studies[view.loss].used);
  const all = study.runs.run_id.map((id, row) => ({ id, x: study.runs[study.size][row], loss: study.runs[view.loss][row] }));
  const runs = all.filter((run) => used.has(run.id) && (!view.only || view.only.has(run.id))).map((run) => ({ ...run, law: lossAt(law, run.x) }));
  const [low, high] = d3.extent(all.filter((run) => used.has(run.id)), (run) => run.x);
  const grid = d3.range(POINTS).map((at) => low * ((BEYOND * high) / low) ** (at / (POINTS - 1)));
  const as = shown(state.show, law);
  const on = (key) => !state.off.has(key);
  const line = grid.map((x) => ({ x, y: as(lossAt(law, x), x) })).filter((point) => drawable(state, point.y));
  const band = (bandOf(law, grid, convention.level) ?? []).map(({ x, low, high }) => ({ x, low: as(low, x), high: as(high, x) }));
  const points = runs.map((run) => ({ ...run, y: as(run.loss, run.x) })).filter((run) => drawable(state, run.y));
  const made = law.forecast?.refused ? [] : forecastOf(law.forecast, as).filter((point) => drawable(state, point.y));
  const marks = { points: on("runs") ? points : [], line: on("law") ? line : [], band: on("band") ? bandWithin(state, band) : [], made: on("forecast") ? made : [] };
  const rows = points.map(({ id, x, loss, law: by }) => ({ id, [study.variable]: x, loss, law: by }));
  return { chart: drawn(state, view, { ...marks, high, as }), rows, brush: { runs: points, x: "x", y: "y" }, note: note(state, law, convention.level, marks) };
}

function shown(what, law) {
  if (what === "above") return (loss) => loss - law.E;
  if (what === "residual") return (loss, x) => loss / lossAt(law, x) - 1;
  return (loss) => loss;
}

function drawable(state, y) {
  return !isLog(state) || y > 0;
}

function isLog(state) {
  return state.ylog && state.show !== "residual";
}

function bandWithin(state, band) {
  return isLog(state) ? band.filter((point) => point.low > 0) : band;
}

function forecastOf(made, as) {
  return made.x.map((x, at) => ({
    x, y: as(made.predicted[at], x), predicted: made.predicted[at], measured: made.loss[at],
    low: made.low ? as(made.low[at], x) : null, high: made.high ? as(made.high[at], x) : null,
  }));
}

function drawn(state, view, { points, line, band, made, high }) {
  const inside = line.filter((point) => point.x <= high);
  const beyond = line.filter((point) => point.x >= (inside.at(-1)?.x ?? 0));
  const across = [...points, ...line, ...band, ...made].map((point) => point.x);
  const values = [...points, ...line, ...made].map((point) => point.y).concat(band.flatMap((point) => [point.low, point.high]));
  const isC = study.variable === "C";
  const labels = { loss: `${study.losses[view.loss]} (${study.unit})`, above: `${study.losses[view.loss]} above the floor (${study.unit})`, residual: "measured over law, less one" };
  const format = state.show === "residual" ? "+.2~%" : number;
  return Plot.plot({
    width: state.width,
    height: 380,
    ...ROOM,
    x: isC ? axisC(state.xlog, across, state.width - 70, LABELS.C) : axisX(state.xlog, across, state.width - 70, { label: LABELS[study.variable], tickFormat: metric }),
    y: axisY(isLog(state), values, 310, { label: labels[state.show], tickFormat: format }),
    marks: [
      ...(state.show === "residual" ? [Plot.ruleY([0])] : []),
      Plot.areaY(band, { x: "x", y1: "low", y2: "high", fill: COLOURS.law, fillOpacity: 0.16 }),
      Plot.line(inside, { x: "x", y: "y", stroke: COLOURS.law, strokeWidth: 2 }),
      Plot.line(beyond, { x: "x", y: "y", stroke: COLOURS.law, strokeWidth: 1.5, strokeDasharray: "3 4" }),
      Plot.link(made.filter((point) => point.low !== null && drawable(state, point.low)), { x1: "x", x2: "x", y1: "low", y2: "high", stroke: COLOURS.forecast, strokeWidth: 1.5 }),
      Plot.dot(made, { x: "x", y: "y", symbol: "times", r: 4, stroke: COLOURS.forecast, strokeWidth: 2 }),
      Plot.dot(points, { x: "x", y: "y", fill: COLOURS.runs, r: 3.5, fillOpacity: (run) => (view.run !== null && run.id !== view.run ? 0.35 : 0.9) }),
      Plot.dot(points.filter((run) => run.id === view.run), { x: "x", y: "y", stroke: "var(--mark)", strokeWidth: 2, r: 7 }),
      Plot.tip(points, Plot.pointer({ x: "x", y: "y", title: words, fill: "var(--box)" })),
    ],
  });
}

function words(run) {
  const x = study.variable === "C" ? run.x.toExponential(3).replace("e+", "e") : number(run.x);
  return [run.id, `${study.variable} = ${x}`, `loss = ${number(run.loss)}`, `law = ${number(run.law)}`].join("\n");
}

function note(state, law, level, { band, made }) {
  const parts = ["Dotted is the law beyond these runs."];
  if (band.length) parts.push(`The band holds ${percent(level)} of the resampled laws.`);
  if (made.length) parts.push(`Crosses are forecasts from the ${law.forecast.fitted} smaller runs${law.forecast.low ? ", with the range of a single run" : ""}.`);
  if (state.show === "above") parts.push(`The floor E is ${number(law.E)}: above it a power law is straight on log axes.`);
  return parts.join(" ");
}
