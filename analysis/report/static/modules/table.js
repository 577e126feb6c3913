// Tables sort by a click on a column and filter by a word. A row of runs pins its run.
import { element, labelled } from "./frame.js";
import { onChange, pin, view } from "./view.js";

const LONG = 12; // rows from which on a table has a filter

export function tables() {
  for (const table of document.querySelectorAll("details table")) {
    if (!table.tHead) continue;
    const rows = [...table.tBodies[0].rows];
    if (rows.length > 2) sortable(table, rows);
    if (rows.length > LONG) filtered(table, rows);
  }
  const runs = document.querySelector("#runs-list table");
  if (runs) pinnable([...runs.tBodies[0].rows]);
}

function sortable(table, rows) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = element("button", { type: "button", class: "sort" }, head.textContent);
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const sign = down ? -1 : 1;
      const keyed = rows.map((row) => ({ row, key: keyOf(row.cells[column].textContent) }));
      keyed.sort((a, b) => sign * compare(a.key, b.key));
      table.tBodies[0].append(...keyed.map((one) => one.row));
    });
  });
}

export function keyOf(text) {
  const value = Number(text.replaceAll(",", "").replace(/ %$/, ""));
  return text.trim() === "" ? null : Number.isNaN(value) ? text : value;
}

// Numbers by size, then texts, and empty cells at the end.
export function compare(a, b) {
  const kind = (key) => (key === null ? 2 : typeof key === "string" ? 1 : 0);
  if (kind(a) !== kind(b)) return kind(a) - kind(b);
  return typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : (a ?? 0) - (b ?? 0);
}

function filtered(table, rows) {
  const input = element("input", { type: "search", placeholder: "a word, or: params > 10000" });
  const count = element("output", {}, `${rows.length} rows`);
  const names = [...table.tHead.rows[0].cells].map((head) => head.textContent.trim());
  input.addEventListener("input", () => {
    const keep = condition(input.value.trim(), names);
    let shown = 0;
    for (const row of rows) {
      row.hidden = !keep([...row.cells].map((cell) => cell.textContent));
      shown += row.hidden ? 0 : 1;
    }
    count.textContent = `${shown} of ${rows.length} rows`;
  });
  const bar = element("div", { class: "bar" });
  bar.append(labelled("Filter", input), count);
  table.closest(".scroll").before(bar);
}

// `params > 10000` compares a column; every other text is looked for in all cells.
export function condition(text, names) {
  const [, name, sign, value] = text.match(/^(\S+)\s*(<=|>=|=|<|>)\s*(\S+)$/) ?? [];
  const column = names.indexOf(name);
  if (column < 0) return (cells) => cells.some((cell) => cell.toLowerCase().includes(text.toLowerCase()));
  const wanted = keyOf(value);
  const tests = {
    "<": (order) => order < 0,
    "<=": (order) => order <= 0,
    "=": (order) => order === 0,
    ">=": (order) => order >= 0,
    ">": (order) => order > 0,
  };
  return (cells) => {
    const key = keyOf(cells[column]);
    return typeof key === typeof wanted && key !== null && tests[sign](compare(key, wanted));
  };
}

function pinnable(rows) {
  const byId = new Map(rows.map((row) => [row.cells[0].textContent, row]));
  for (const [id, row] of byId) {
    const button = element("button", { type: "button", class: "pin", "aria-pressed": "false" }, id);
    button.addEventListener("click", () => pin(id));
    row.cells[0].replaceChildren(button);
  }
  const show = () => {
    for (const [id, row] of byId) {
      row.classList.toggle("is-pinned", view.run === id);
      row.classList.toggle("is-left-out", view.only !== null && !view.only.has(id));
      row.cells[0].firstChild.setAttribute("aria-pressed", String(view.run === id));
    }
  };
  onChange(show);
  show();
}
