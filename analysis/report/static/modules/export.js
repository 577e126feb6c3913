// A figure as a file: the drawing as SVG, its numbers as CSV.

const FORMULAS = ["=", "+", "-", "@", "\t", "\r"]; // what a spreadsheet takes a cell of text for that begins so
const COLOURS = ["--text", "--back", "--soft", "--line", "--grid", "--box", "--link", "--mark"]; // of the page's styles
const SVG = "http://www.w3.org/2000/svg";

// All drawings of a figure, each at its place: panels side by side, and the legend above them.
export function saveSvg(chart, name) {
  const parts = [chart, ...chart.querySelectorAll("svg")].filter((part) => part.matches("svg") && !part.parentElement.closest("svg"));
  const boxes = parts.map((part) => part.getBoundingClientRect());
  const [left, top] = [d3.min(boxes, (box) => box.left), d3.min(boxes, (box) => box.top)];
  const whole = document.createElementNS(SVG, "svg");
  const [width, height] = [d3.max(boxes, (box) => box.right) - left, d3.max(boxes, (box) => box.bottom) - top];
  for (const [side, value] of Object.entries({ width, height, viewBox: `0 0 ${width} ${height}` })) whole.setAttribute(side, value);
  const style = getComputedStyle(document.body);
  whole.style.color = style.color;
  whole.style.background = style.backgroundColor;
  for (const colour of COLOURS) whole.style.setProperty(colour, style.getPropertyValue(colour));
  whole.setAttribute("font-family", "sans-serif");
  parts.forEach((part, at) => {
    const copy = part.cloneNode(true);
    const { x, y, width: wide, height: high } = boxes[at];
    for (const [side, value] of Object.entries({ x: x - left, y: y - top, width: wide, height: high })) copy.setAttribute(side, value);
    whole.append(copy);
  });
  save(new XMLSerializer().serializeToString(whole), "image/svg+xml", `${name}.svg`);
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
