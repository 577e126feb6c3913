// Seeds: how far the losses of the same model lie apart, by dots with their intervals, or as cumulative shares.
import { ROOM, axisX, axisY } from "../modules/axes.js";
import { metric, number, percent } from "../modules/format.js";
import { shade } from "../modules/frame.js";
import { study } from "../modules/study.js";

const ROW = 58; // pixels of a cell
const COLOURS = ["#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"]; // of cells in no order (Okabe and Ito)
const JITTER = 0.5; // of a row, over which its dots are spread

export const controls = [
  { name: "as", label: "as", options: { dots: "dots and intervals", shares: "cumulative shares" }, value: "dots" },
  { name: "xlog", label: "log x", value: true },
];

// A key for each cell: as many as there are panels of the same model.
export function keys(_, view) {
  return cellsOf(view).map(({ key, label, colour }) => ({ key, label, colour }));
}

function cellsOf(view) {
  const { seed_spread: cells, seed_runs: members } = study.studies[view.loss];
  if (!cells) return [];
  const colours = d3.scaleSequentialLog(spanOf(cells.map((cell) => cell.tokens)), shade());
  const ordered = cells.length > COLOURS.length || new Set(cells.map((cell) => cell.size)).size === 1;
  return cells.map((cell, at) => {
    const label = `N = ${metric(cell.params)}, D = ${metric(cell.tokens)}`;
    const colour = ordered ? colours(cell.tokens) : COLOURS[at];
    return { ...cell, key: `${cell.size} ${cell.budget}`, label, colour, runs: runsOf(view, members[at]) };
  });
}

function spanOf(values) {
  const [low, high] = d3.extent(values);
  return low === high ? [low / 2, high * 2] : [low, high];
}

function runsOf(view, rows) {
  const { runs } = study;
  const found = rows.map((row) => ({
    id: runs.run_id[row], N: runs[study.size][row], D: runs.tokens[row], seed: runs.seed?.[row] ?? null, loss: runs[view.loss][row],
  }));
  return found.filter((run) => !view.only || view.only.has(run.id)).sort((a, b) => a.loss - b.loss);
}

export function seedSpread(state, view) {
  const cells = cellsOf(view).filter((cell) => !state.off.has(cell.key));
  if (!cells.length) return { chart: null, rows: [], note: `No cell is shown, or none has enough seeds with a ${study.losses[view.loss]}.` };
  const shares = state.as === "shares";
  const runs = cells.flatMap((cell, row) => cell.runs.map((run, at) => ({ ...run, colour: cell.colour, key: cell.key, y: shares ? (at + 1) / cell.runs.length : row + jitter(at) })));
  const chart = (shares ? asShares : asDots)(state, view, cells, runs);
  const rows = runs.map(({ id, N, D, seed, loss }) => ({ id, N, D, seed, loss }));
  return { chart, rows, brush: { runs, x: "loss", y: "y" }, note: note(shares, cells) };
}

// Dots of one row beside each other: the sequence of van der Corput fills it evenly, in the same way each time.
function jitter(at) {
  let [value, part] = [0, 0.5];
  for (let rest = at + 1; rest > 0; rest = Math.floor(rest / 2), part /= 2) value += (rest % 2) * part;
  return JITTER * (value - 0.5);
}

function scaleX(state, view, runs, more = []) {
  const values = [...runs.map((run) => run.loss), ...more];
  return axisX(state.xlog, values, state.width - 120, { label: `${study.losses[view.loss]} (${study.unit})`, tickFormat: number });
}

function pinned(view, runs) {
  return [
    Plot.dot(runs.filter((run) => run.id === view.run), { x: "loss", y: "y", stroke: "var(--mark)", strokeWidth: 2, r: 7 }),
    Plot.tip(runs, Plot.pointer({ x: "loss", y: "y", title: words, fill: "var(--box)" })),
  ];
}

function asDots(state, view, cells, runs) {
  const rows = cells.map((cell, y) => ({ ...cell, y }));
  return Plot.plot({
    width: state.width,
    height: 82 + ROW * cells.length,
    marginLeft: 10,
    marginTop: 10,
    marginBottom: ROOM.marginBottom,
    insetLeft: 4,
    x: { ...scaleX(state, view, runs, rows.flatMap((row) => [row.mean_low, row.mean_high])), grid: true },
    y: { domain: [cells.length - 0.4, -0.75], axis: null },
    marks: [
      Plot.text(rows, { x: () => d3.min(runs, (run) => run.loss), y: (row) => row.y - 0.5, text: of, textAnchor: "start", dx: -3 }),
      Plot.link(rows, { x1: "p05", x2: "p95", y1: "y", y2: "y", stroke: "colour", strokeWidth: 22, strokeOpacity: 0.22 }),
      Plot.dot(runs, { x: "loss", y: "y", fill: "colour", r: 3, fillOpacity: 0.85 }),
      Plot.link(rows, { x1: "median", x2: "median", y1: (row) => row.y - 0.3, y2: (row) => row.y + 0.3, stroke: "currentColor", strokeWidth: 2 }),
      Plot.link(rows, { x1: "mean_low", x2: "mean_high", y1: (row) => row.y + 0.36, y2: (row) => row.y + 0.36, stroke: "var(--mark)", strokeWidth: 2.5 }),
      Plot.dot(rows, { x: "mean", y: (row) => row.y + 0.36, symbol: "diamond", r: 4.5, fill: "var(--mark)" }),
      ...pinned(view, runs),
    ],
  });
}

function of(cell) {
  const [mean, low, high] = [cell.mean, cell.mean_low, cell.mean_high].map((value) => Number(value.toPrecision(4)));
  return `${cell.label}: mean ${mean} (${low} to ${high})`;
}

function asShares(state, view, cells, runs) {
  return Plot.plot({
    width: state.width,
    height: 360,
    ...ROOM,
    x: scaleX(state, view, runs),
    y: axisY(false, [0, 1], 290, { domain: [0, 1], label: "share of seeds at or below", tickFormat: "~%" }),
    marks: [
      Plot.line(runs, { x: "loss", y: "y", z: "key", stroke: "colour", curve: "step-after", strokeWidth: 1.6 }),
      Plot.dot(runs, { x: "loss", y: "y", fill: "colour", r: 2.5 }),
      ...pinned(view, runs),
    ],
  });
}

function words(run) {
  const seed = run.seed === null ? [] : [`seed = ${run.seed}`];
  return [run.id, `N = ${number(run.N)}`, `D = ${number(run.D)}`, ...seed, `loss = ${number(run.loss)}`].join("\n");
}

function note(shares, cells) {
  const seeds = [...new Set(cells.map((cell) => cell.seeds))].sort(d3.ascending).join(" or ");
  if (shares) return `A step is one of ${seeds} seeds: how many of them end at or below a loss.`;
  const level = percent(study.studies[Object.keys(study.losses)[0]].convention.level);
  return `A dot is one of ${seeds} seeds. The band holds the middle 90 % of them and the line is their median. The diamond is their geometric mean with its ${level} interval.`;
}
