// Recipes: Kaplan's, Chinchilla's and one's own split of the same compute, and the split that thinks of serving.
import { ROOM, axisX } from "../modules/axes.js";
import { metric, lossInWords, number } from "../modules/format.js";
import { element } from "../modules/frame.js";
import { HOFFMANN, excess, loss as lossOf, paramsOpt, tokensOpt } from "../laws/law.js";
import { paramsForServing } from "../laws/plan.js";
import { lawOf, study, whyNoLaw } from "../modules/study.js";

const PF_DAY = 8.64e19; // FLOP

export function controlsOf() {
  const [low, high] = study.studies[Object.keys(study.losses)[0]].range.flops.map(Math.log10);
  const say = (power) => `${(10 ** power).toExponential(1).replace("e+", "e")} FLOP`;
  return [
    { name: "power", label: "compute", min: low, max: high + 6, step: 0.01, value: Number(high.toFixed(2)), say },
    { name: "served", label: "tokens served over those trained", min: -2, max: 4, step: 0.1, value: 1, say: (power) => `${number(10 ** power)} x` },
  ];
}

export function recipes(state, view) {
  const law = lawOf(view.loss);
  if (!law) return { chart: null, rows: [], note: whyNoLaw(view.loss) };
  const rows = recipesOf(law, 10 ** state.power, 10 ** state.served);
  const chart = element("div");
  const plot = Plot.plot({
    width: state.width,
    height: 60 + 34 * rows.length,
    ...ROOM,
    marginLeft: 150,
    x: axisX(true, rows.map((row) => row.N), state.width - 170, { label: "N (parameters)", tickFormat: metric }),
    y: { label: null, domain: rows.map((row) => row.recipe) },
    marks: [
      Plot.ruleX(rows.slice(0, 1), { x: "N", stroke: "var(--mark)", strokeDasharray: "5 4" }),
      Plot.dot(rows, { x: "N", y: "recipe", r: 6, fill: "#0072b2", stroke: "var(--back)" }),
    ],
  });
  const around = element("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": "Recipes as a table" });
  around.append(table(rows));
  chart.append(plot, around);
  return { chart, rows };
}

export function recipesOf(law, C, servedShare) {
  const own = [paramsOpt(law, C), tokensOpt(law, C)];
  const kaplan = 1.3e9 * (C / PF_DAY) ** 0.73; // Kaplan et al. 2020, table 6
  const served = servedShare * own[1];
  const above = excess(law, ...own);
  const serving = paramsForServing(law, above, served);
  const left = above - law.A * serving ** -law.alpha;
  const rows = [
    ["the law of these runs", ...own],
    ["Kaplan et al. 2020", kaplan, C / (6 * kaplan)],
    ["Hoffmann et al. 2022", paramsOpt(HOFFMANN, C), tokensOpt(HOFFMANN, C)],
    ["least with serving", serving, (law.B / left) ** (1 / law.beta)],
  ];
  return rows.map(([recipe, N, D]) => ({ recipe, N, D, ratio: D / N, training: 6 * N * D, serving: 2 * N * served, loss: lossOf(law, N, D) }));
}

function table(rows) {
  const made = element("table");
  const head = made.createTHead().insertRow();
  const titles = ["recipe", "N", "D", "tokens per parameter", "FLOP to train", "FLOP to serve", "loss by the law of these runs"];
  for (const title of titles) head.append(element("th", { scope: "col" }, title));
  const body = made.createTBody();
  for (const row of rows) {
    const flops = [row.training, row.serving].map((value) => value.toExponential(2).replace("e+", "e"));
    const cells = [row.recipe, metric(row.N), metric(row.D), metric(row.ratio), ...flops, lossInWords(row.loss)];
    body.insertRow().append(...cells.map((text) => element("td", {}, text)));
  }
  return made;
}
