// Two drawings: curves on a logarithmic axis, and the runs in the slots of a stack. Text only ever becomes text.
const SVG = "http://www.w3.org/2000/svg";
const HIGH = 380, LEFT = 62, RIGHT = 14, TOP = 10, BOTTOM = 40;

export function element(name, attributes = {}, text = null) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== null) made.textContent = text;
  return made;
}

export function short(value) {
  if (value === null || value === undefined) return "none";
  if (value !== 0 && (Math.abs(value) >= 1e6 || Math.abs(value) < 1e-3)) return value.toExponential(1);
  return Number(value.toPrecision(4)).toLocaleString("en", { maximumSignificantDigits: 4 });
}

function scale(low, high, from, to, log) {
  const f = log ? Math.log : (x) => x;
  const a = f(low), b = f(high) === a ? a + 1 : f(high);
  return (x) => from + ((f(x) - a) / (b - a)) * (to - from);
}

export function ticks(low, high, log) {
  const found = [];
  if (log && high / low >= 3) {
    const factors = high / low > 1000 ? [1] : high / low > 30 ? [1, 3] : [1, 2, 5];
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
      for (const factor of factors) found.push(factor * 10 ** power);
    }
  } else {
    const rough = (high - low) / 5, unit = 10 ** Math.floor(Math.log10(rough || 1));
    const step = unit * [1, 2, 5, 10].find((n) => n * unit >= rough);
    for (let at = Math.ceil(low / step) * step; at <= high; at += step) found.push(at);
  }
  return found.filter((at) => at >= low && at <= high);
}

function axes(svg, wide, x, y, xs, ys, log, label) {
  const every = wide < 600 ? 2 : 1; // narrow screens have no room for all numbers
  for (const [i, at] of ticks(...xs, true).entries()) {
    svg.append(element("line", { class: "axis", x1: x(at), x2: x(at), y1: TOP, y2: HIGH - BOTTOM }));
    if (i % every === 0) svg.append(element("text", { x: x(at), y: HIGH - BOTTOM + 16, "text-anchor": "middle" }, short(at)));
  }
  for (const at of ticks(...ys, log)) {
    svg.append(element("line", { class: "axis", x1: LEFT, x2: wide - RIGHT, y1: y(at), y2: y(at) }));
    svg.append(element("text", { x: LEFT - 6, y: y(at) + 4, "text-anchor": "end" }, short(at)));
  }
  const middle = (LEFT + wide - RIGHT) / 2;
  svg.append(element("text", { x: middle, y: HIGH - 6, "text-anchor": "middle" }, "training examples seen"));
  svg.append(element("text", { x: 12, y: TOP + 150, transform: `rotate(-90 12 ${TOP + 150})`, "text-anchor": "middle" }, label));
}

// wide: of the drawing in pixels. lines: [{name, kind, points: [[x, y], ...]}] with kind "ended", "running" or "odd", which is drawn last.
export function curves(lines, log, label, wide, pointed) {
  const svg = element("svg", { viewBox: `0 0 ${wide} ${HIGH}`, role: "img", "aria-label": `${label} of ${lines.length} runs` });
  const all = lines.flatMap((line) => line.points);
  if (!all.length) {
    svg.append(element("text", { x: wide / 2, y: HIGH / 2, "text-anchor": "middle" }, "no evaluation yet"));
    return svg;
  }
  const range = (column) => all.reduce(([a, b], p) => [Math.min(a, p[column]), Math.max(b, p[column])], [Infinity, -Infinity]);
  const xs = range(0), ys = range(1);
  const x = scale(...xs, LEFT, wide - RIGHT, true), y = scale(...ys, HIGH - BOTTOM, TOP, log);
  axes(svg, wide, x, y, xs, ys, log, label);
  const order = { ended: 0, running: 1, odd: 2 }, places = [];
  for (const line of [...lines].sort((a, b) => order[a.kind] - order[b.kind])) {
    const at = line.points.map((point) => [x(point[0]), y(point[1])]);
    const path = element("path", { class: `curve ${line.kind}`, d: `M${at.map((p) => p.map((v) => v.toFixed(1)).join(",")).join("L")}` });
    svg.append(path);
    const [lastX, lastY] = at.at(-1);
    if (line.kind !== "ended") svg.append(element("circle", { class: `tip ${line.kind}`, cx: lastX, cy: lastY, r: 3 }));
    at.forEach((place, i) => places.push({ place, path, line, point: line.points[i] }));
  }
  follow(svg, wide, places, pointed);
  return svg;
}

function follow(svg, wide, places, pointed) {
  let shown = null;
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const at = [((event.clientX - box.left) * wide) / box.width, ((event.clientY - box.top) * HIGH) / box.height];
    const away = (each) => (each.place[0] - at[0]) ** 2 + (each.place[1] - at[1]) ** 2;
    const nearest = places.reduce((best, each) => (away(each) < away(best) ? each : best));
    shown?.path.classList.remove("pointed");
    shown = nearest;
    shown.path.classList.add("pointed");
    pointed(nearest.line.name, nearest.point);
  });
}

export function slots(plan, wide) {
  const row = Math.max(4, Math.min(16, 240 / plan.slots)), high = plan.slots * row + 22;
  const svg = element("svg", { viewBox: `0 0 ${wide} ${high}`, role: "img", "aria-label": `runs in the slots of ${plan.stack}` });
  const x = (step) => (step / plan.steps) * (wide - 2) + 1;
  for (const [slot, start, stop, name, status] of plan.places) {
    const width = Math.max(1, x(stop) - x(start) - 1);
    const place = element("rect", { class: `place ${status}`, x: x(start), y: slot * row + 1, width, height: row - 2 });
    place.append(element("title", {}, `${name}: ${status}, steps ${start} to ${stop} of the stack`));
    svg.append(place);
  }
  const here = x(plan.step);
  svg.append(element("line", { class: "here", x1: here, x2: here, y1: 0, y2: plan.slots * row + 2 }));
  const anchor = here > wide / 2 ? "end" : "start";
  svg.append(element("text", { x: here, y: high - 5, "text-anchor": anchor }, `step ${plan.step.toLocaleString("en")} of ${plan.steps.toLocaleString("en")}`));
  return svg;
}
