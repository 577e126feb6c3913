// A figure as a file: the drawing as SVG, its numbers as CSV.

const FORMULAS = ["=", "+", "-", "@", "\t", "\r"]; // what a spreadsheet takes a cell of text for that begins so

export function saveSvg(svg, name) {
  const copy = svg.cloneNode(true);
  const style = getComputedStyle(document.body);
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  copy.style.color = style.color;
  copy.style.background = style.backgroundColor;
  copy.setAttribute("font-family", "sans-serif");
  save(new XMLSerializer().serializeToString(copy), "image/svg+xml", `${name}.svg`);
}

export function saveCsv(rows, name) {
  const head = [...new Set(rows.flatMap(Object.keys))];
  const lines = [head, ...rows.map((row) => head.map((key) => row[key]))];
  save(lines.map((line) => line.map(cell).join(",")).join("\n") + "\n", "text/csv", `${name}.csv`);
}

export function cell(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") return String(value);
  const text = FORMULAS.some((start) => value.startsWith(start)) ? `'${value}` : value;
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function save(text, type, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
