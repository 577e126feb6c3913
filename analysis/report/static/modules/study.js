// The numbers of the page: the same as in runs.csv, curves.csv and fits.json, in columns.

export const study = JSON.parse(document.getElementById("study").textContent);

// One object a run that a view can draw: N and C in the view's conventions, the loss positive.
export function runsOf(view) {
  const columns = study.runs;
  const used = new Set(study.studies[view.loss].used);
  return columns.run_id
    .map((id, row) => runAt(columns, view, id, row))
    .filter((run) => run.loss > 0 && used.has(run.id) && !view.hidden.has(run.N))
    .filter((run) => !view.only || view.only.has(run.id));
}

function runAt(columns, view, id, row) {
  const N = columns[view.size][row];
  return {
    id,
    row,
    N,
    D: columns.tokens[row],
    C: computeOf(columns, view, row, N),
    loss: columns[view.loss][row],
    budget: columns.budget?.[row] ?? columns.tokens[row],
    seed: columns.seed?.[row] ?? null,
    match: columns.exact_match?.[row] ?? null,
  };
}

function computeOf(columns, view, row, N) {
  if (view.flops === "flops_6nd" && view.size !== "params") return 6 * N * columns.tokens[row];
  return (columns[view.flops] ?? columns.flops_6nd)[row];
}

// The points of the loss curves of these runs: D, C and the loss of each.
export function curvesOf(view, runs) {
  const columns = study.curves;
  if (!columns || !columns[view.loss]) return [];
  const byRow = new Map(runs.map((run) => [run.row, run]));
  const points = [];
  columns.run.forEach((row, at) => {
    const run = byRow.get(row);
    const loss = columns[view.loss][at];
    if (!run || !(loss > 0)) return;
    const D = columns.tokens[at];
    points.push({ id: run.id, N: run.N, D, C: (run.C / run.D) * D, loss });
  });
  return points;
}

// Whether a view shows the convention of the fits in fits.json.
export function asFitted(view) {
  return view.size === study.size && view.flops === study.compute;
}

// What the exponent slider begins with: that of N, or of the only variable of a table; null where no law was fitted.
export function exponentOf(loss) {
  const { variable, studies } = study;
  const fitted = variable ? studies[loss].one_variable : studies[loss].parametric;
  return fitted.refused ? null : { alpha: fitted.alpha, of: variable || "N" };
}

// The law of one loss as fits.json has it, or null where it was refused.
export function lawOf(loss) {
  const fitted = study.studies[loss].parametric;
  return fitted.refused ? null : fitted;
}

// Why there is no such law, as a sentence.
export function whyNoLaw(loss) {
  return `No law of the ${study.losses[loss]} was fitted: ${study.studies[loss].parametric.refused}.`;
}
