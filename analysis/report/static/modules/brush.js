// A drag over a figure: the runs inside its rectangle are kept everywhere.
import { change } from "./view.js";

const LEAST_DRAG = 8; // pixels: less is a click

// With a mouse or a pen; a finger scrolls. brush: {runs, x, y}. Returns whether the last press was a drag.
export function brushed(drawing, { runs, x, y }) {
  const svg = drawing.matches("svg") ? drawing : drawing.querySelector("svg:last-of-type");
  let start = null;
  let moved = false;
  const place = (event) => {
    const box = svg.getBoundingClientRect();
    const scale = svg.viewBox.baseVal.width / box.width;
    return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
  };
  const frame = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  frame.setAttribute("class", "brush");
  const rectangle = (event) => {
    const ends = [start, place(event)];
    return [0, 1].map((axis) => d3.extent(ends, (end) => end[axis]));
  };
  svg.addEventListener("pointerdown", (event) => {
    moved = false;
    if (event.pointerType !== "touch" && event.button === 0) start = place(event);
  });
  svg.addEventListener("pointermove", (event) => {
    if (!start) return;
    const [[left, right], [top, bottom]] = rectangle(event);
    moved ||= right - left > LEAST_DRAG || bottom - top > LEAST_DRAG;
    if (!moved) return;
    const sides = { x: left, y: top, width: right - left, height: bottom - top };
    for (const [side, value] of Object.entries(sides)) frame.setAttribute(side, value);
    svg.append(frame);
  });
  svg.addEventListener("pointerup", (event) => {
    if (start && moved) {
      const inside = rectangle(event);
      const at = (run, axis, name) => drawing.scale(axis).apply(run[name]);
      const kept = runs.filter((run) => within(at(run, "x", x), inside[0]) && within(at(run, "y", y), inside[1]));
      const ids = kept.map((run) => run.id).filter((id) => id !== null); // a mean of several runs has none
      if (ids.length) change({ only: new Set(ids) });
    }
    start = null;
    frame.remove();
  });
  svg.addEventListener("pointerleave", () => {
    start = null;
    frame.remove();
  });
  return () => moved;
}

function within(value, [low, high]) {
  return value >= low && value <= high;
}
