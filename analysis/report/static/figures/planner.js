// The planner: a compute, tokens to serve and a limit of data in; N, D, loss and their intervals out.
import { metric, number, percent } from "../modules/format.js";
import { element, labelled } from "../modules/frame.js";
import { lawsOf, plan } from "../modules/plan.js";
import { lawOf, study } from "../modules/study.js";
import { onChange, view } from "../modules/view.js";

const FIELDS = [
  ["flops", "Compute (FLOP)", ""],
  ["hours", "or GPU-hours", ""],
  ["speed", "FLOP/s of one GPU", "1.5e14"],
  ["mfu", "share of it reached", "0.4"],
  ["served", "Tokens to serve", ""],
  ["tokens", "Data limit (tokens)", ""],
  ["reserve", "Reserve for a re-run (share)", "0"],
];

export function planner() {
  const figure = document.querySelector('[data-live="planner"]');
  if (!figure) return;
  const form = element("form", { class: "bar planner" });
  const inputs = {};
  for (const [name, label, value] of FIELDS) {
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
  const value = (name) => (values[name] === "" ? null : Number(values[name]));
  const flops = value("hours") ? value("hours") * 3600 * value("speed") * value("mfu") : value("flops");
  const problems = wrong.map(([name, text]) => `${name}: a number above 0 - got ${text}`);
  if (!wrong.length && !(flops > 0)) problems.push("compute: give a number of FLOP, or GPU-hours with their speed");
  if (!(value("reserve") < 1)) problems.push("reserve: a share from 0 to below 1");
  return { flops, served: value("served"), tokens: value("tokens"), reserve: value("reserve") ?? 0, problems };
}

function shown(asked, anyway) {
  const say = (text) => [element("p", {}, text)];
  if (asked.problems.length) return say(`${asked.problems.join("; ")}.`);
  const law = lawOf(view.loss);
  const standing = study.studies[view.loss].standing;
  if (!law) return say(`There is no law to plan from: ${study.studies[view.loss].parametric.refused}.`);
  if (standing.verdict === "not shown" && !anyway) return say(`These runs do not show the law: ${standing.reasons.join("; ")}.`);
  const level = study.studies[view.loss].convention.level;
  const laws = lawsOf(law, level);
  const made = plan(laws, asked);
  if (made.refused) return say(`${made.refused}: is C in FLOP?`);
  const range = laws.resamples.length ? `${percent(level)} interval over ${laws.resamples.length} resamples` : "without intervals, because there are no resamples";
  const doubt = standing.verdict === "describes" ? "" : ` The law is ${standing.verdict}: ${standing.reasons.join("; ")}.`;
  return [table(rowsOf(made)), ...say(`By ${view.loss}, ${range}.${doubt}`)];
}

export function rowsOf(made) {
  const rows = [
    ["parameters N", made.params, metric],
    ["tokens D", made.tokens, metric],
    ["tokens per parameter", made.tokens_per_param, number],
    ["loss", made.loss, number],
  ];
  if (made.serving) {
    rows.push(
      ["N with the least FLOP to train and serve", made.serving.params, metric],
      ["its D", made.serving.tokens, metric],
      ["FLOP saved in all", made.serving.saved, percent],
    );
  }
  if (made.fixed_tokens) {
    rows.push(
      [made.fixed_tokens.scarce ? "N for all of the data" : "N for this data, which is enough", made.fixed_tokens.params, metric],
      ["its loss", made.fixed_tokens.loss, number],
      ["loss that no N beats with this data", made.fixed_tokens.floor, number],
    );
  }
  if (made.reserve) {
    rows.push(["loss given up by the reserve", made.reserve.given_up, number], ["loss of a re-run with it", made.reserve.loss_of_rerun, number]);
  }
  return rows;
}

function table(rows) {
  const made = element("table");
  const body = made.createTBody();
  for (const [name, value, say] of rows) {
    const range = value.low === null ? "" : `${say(value.low)} to ${say(value.high)}`;
    const row = body.insertRow();
    row.append(element("th", { scope: "row" }, name), element("td", { "data-value": value.value }, say(value.value)), element("td", {}, range));
  }
  return made;
}
