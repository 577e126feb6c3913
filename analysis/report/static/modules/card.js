// The pinned run: all that runs.csv says of it here, wherever the page is scrolled to.
import { element } from "./frame.js";
import { number } from "./format.js";
import { study } from "./study.js";
import { onChange, pin, view } from "./view.js";

export function card() {
  const box = element("aside", { class: "card", "aria-label": "Pinned run", "aria-live": "polite" });
  document.body.append(box);
  const show = () => {
    box.hidden = view.run === null;
    if (view.run !== null) box.replaceChildren(...inside(view.run));
  };
  onChange(show);
  show();
}

function inside(id) {
  const row = study.runs.run_id.indexOf(id);
  const close = element("button", { type: "button", "aria-label": "Unpin" }, "×");
  close.addEventListener("click", () => pin(id));
  const list = element("dl");
  for (const [name, column] of Object.entries(study.runs)) {
    const value = column[row];
    if (name === "run_id" || value === null) continue;
    const words = typeof value === "number" ? number(value) : value;
    list.append(element("dt", {}, name), element("dd", { title: String(value) }, words));
  }
  return [element("b", {}, id), close, list];
}
