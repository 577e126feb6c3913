// The planner: a compute, tokens to serve and a limit of data in; N, D, loss and their intervals out.
import { amount, lossInWords, percent, share } from "../modules/format.js";
import { element, labelled } from "../modules/frame.js";
import { parametricLaws, plan, repeatedLaws } from "../laws/plan.js";
import { lawOf, study, whyNoLaw } from "../modules/study.js";
import { onChange, view } from "../modules/view.js";

const FIELDS = [
  ["flops", "Compute (FLOP)", ""],
  ["hours", "or GPU-hours", ""],
  ["speed", "FLOP/s of one GPU", "1.5e14"],
  ["mfu", "share of it reached", "0.4"],
  ["served", "Tokens to serve", ""],
  ["tokens", "Data limit (tokens)", ""],
  ["unique", "Distinct tokens, repeated", ""],
  ["reserve", "Reserve for a re-run (share)", "0"],
];

export function planner() {
  const figure = document.querySelector('[data-live="planner"]');
  if (!figure) return;
  const form = element("form", { class: "bar planner" });
  const inputs = {};
  const repeats = Object.values(study.studies).some((of) => of.repeated_data && !of.repeated_data.refused);
  for (const [name, label, value] of FIELDS.filter(([name]) => name !== "unique" || repeats)) {
    inputs[name] = element("input", { name, inputmode: "decimal", size: 9, value });
    form.append(labelled(label, inputs[name]));
  }
  inputs.flops.value = (10 * study.studies[view.loss].range.flops[1]).toPrecision(3);
  const anyway = element("input", { type: "checkbox", name: "anyway" });
  const answer = element("div", { class: "answer", "aria-live": "polite", "data-answer": "planner" });
  form.append(labelled("plan even from a law that is not shown", anyway));
  form.addEventListener("submit", (event) => event.preventDefault());
  const show = () => answer.replaceChildren(...shown(read(inputs), anyway.checked));
  form.addEventListener("input", show);
  onChange(show);
  figure.prepend(form, answer);
  figure.hidden = false;
  show();
}

// What was typed; a number that is none is named.
export function read(inputs) {
  const values = Object.fromEntries(Object.entries(inputs).map(([name, input]) => [name, input.value.trim()]));
  const wrong = Object.entries(values).filter(([, text]) => text !== "" && !(Number(text) >= 0 && Number(text) < Infinity));
  const value = (name) => ((values[name] ?? "") === "" ? null : Number(values[name]));
  const flops = value("hours") ? value("hours") * 3600 * value("speed") * value("mfu") : value("flops");
  const problems = wrong.map(([name, text]) => `${name}: a number above 0 - got ${text}`);
  if (!wrong.length && !(flops > 0)) problems.push("compute: give a number of FLOP, or GPU-hours with their speed");
  if (!(value("reserve") < 1)) problems.push("reserve: a share from 0 to below 1");
  return { flops, served: value("served"), tokens: value("tokens"), unique: value("unique"), reserve: value("reserve") ?? 0, problems };
}

function shown(asked, anyway) {
  const say = (text) => [element("p", {}, text)];
  if (asked.problems.length) return say(`${asked.problems.join("; ")}.`);
  const law = lawOf(view.loss);
  const standing = study.studies[view.loss].standing;
  if (!law) return say(whyNoLaw(view.loss));
  if (standing.verdict === "not shown" && !anyway) return say(`These runs do not show the law: ${standing.reasons.join("; ")}.`);
  const { convention, repeated_data: repeated } = study.studies[view.loss];
  const laws = parametricLaws(law, convention.level);
  const made = plan(laws, asked, repeatedLaws(repeated, convention.level));
  for (const one of [made, made.scarce]) if (one?.refused) return say(`${one.refused}: is C in FLOP?`);
  const known = laws.resamples.length ? `intervals hold ${percent(convention.level)} of ${laws.resamples.length} resampled laws` : "without intervals, because there are no resamples";
  const doubt = standing.verdict === "describes" ? "" : ` The law is ${standing.verdict}: ${standing.reasons.join("; ")}.`;
  const missing = asked.unique && !made.scarce ? ` There is no law of repeated data of the ${study.losses[view.loss]}${repeated ? `: ${repeated.refused}` : ""}.` : "";
  return [table(rowsOf(made, study.studies[view.loss].floor_value), convention.level), ...say(`By ${view.loss} in ${study.unit}; ${known}.${doubt}${missing}`)];
}

// Name, estimate and form of each row; the range of a single run has no value of its own.
export function rowsOf(made, floor = null) {
  const rows = [
    ["parameters N", made.params, amount],
    ["tokens D", made.tokens, amount],
    ["tokens per parameter", made.tokens_per_param, amount],
    ["loss", made.loss, lossInWords],
    ...ofSingleRun(made),
    ...(floor ? [["loss with its floor", { value: made.loss.value + floor, low: null, high: null }, lossInWords]] : []),
  ];
  if (made.serving) {
    rows.push(
      ["N with the least FLOP to train and serve", made.serving.params, amount],
      ["its D", made.serving.tokens, amount],
      ["FLOP saved in all", made.serving.saved, share],
    );
  }
  if (made.fixed_tokens) {
    rows.push(
      [made.fixed_tokens.scarce ? "N for all of the data" : "N for this data, which is enough", made.fixed_tokens.params, amount],
      ["its loss", made.fixed_tokens.loss, lossInWords],
      ["loss that no N beats with this data", made.fixed_tokens.floor, lossInWords],
    );
  }
  if (made.scarce) rows.push(...ofRepeats(made.scarce));
  if (made.reserve) {
    rows.push(["loss given up by the reserve", made.reserve.given_up, lossInWords], ["loss of a re-run with it", made.reserve.loss_of_rerun, lossInWords]);
  }
  return rows;
}

function ofSingleRun({ single_run: range }) {
  return range ? [["loss of a single run", { value: null, low: range[0], high: range[1] }, lossInWords]] : [];
}

function ofRepeats(scarce) {
  return [
    ["N with repeated data", scarce.params, amount],
    ["its D, repeats included", scarce.tokens, amount],
    ["epochs of the distinct tokens", scarce.epochs, amount],
    ["its loss", scarce.loss, lossInWords],
    ...ofSingleRun(scarce),
    ["loss with unlimited data", scarce.unlimited, lossInWords],
    ["worse by", scarce.worse, lossInWords],
  ];
}

function table(rows, level) {
  const made = element("table");
  const head = made.createTHead().insertRow();
  for (const title of ["", "by the law", `${percent(level)} interval`]) head.append(element(title ? "th" : "td", title ? { scope: "col" } : {}, title));
  const body = made.createTBody();
  for (const [name, { value, low, high }, say] of rows) {
    const cell = value === null ? element("td") : element("td", { "data-value": value }, say(value));
    const range = low === null ? "" : `${say(low)} to ${say(high)}`;
    body.insertRow().append(element("th", { scope: "row" }, name), cell, element("td", low === null ? {} : { "data-low": low, "data-high": high }, range));
  }
  return made;
}
