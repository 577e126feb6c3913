// The frame of every live figure: its toolbar, its redrawing, its files. The drawing itself is the figure's own.
import { study } from "./study.js";
import { address, change, onChange, pin, view } from "./view.js";
import { colourBar } from "./axes.js";
import { brushed } from "./brush.js";
import { metric } from "./format.js";
import { saveCsv, saveSvg } from "./export.js";

const PICKERS = ["loss", "size", "flops"];
const [WIDEST, WIDEST_LEAD] = [760, 960]; // pixels of a figure, and of that on the first screen
const MOST_SIZES = 12; // with a button each; more are a colour bar
const dark = matchMedia("(prefers-color-scheme: dark)");

// draw(state) gives {chart, rows, note}: an element of Plot, the numbers that it shows, and a sentence below. Without a
// chart the sentence says why. `controls` make more of the toolbar; a function gives them where the figure exists.
// `sizes` adds a button for each size; `keys(state, view)` gives others: {key, label, colour}, in state.off where hidden.
export function frame(name, draw, { controls = [], pickers = PICKERS, sizes = false, keys = null } = {}) {
  const figure = document.querySelector(`[data-figure="${name}"], [data-live="${name}"]`);
  if (!figure) return;
  if (typeof controls === "function") controls = controls();
  const box = element("div", { class: "live" });
  const bar = element("div", { class: "bar", role: "group", "aria-label": "Options of this figure" });
  const plot = element("div", { class: "chart" });
  const state = { width: 0, off: new Set(), ...Object.fromEntries(controls.map((one) => [one.name, one.value])) };
  box.append(bar, plot);
  figure.prepend(box);
  figure.hidden = false;
  figure.classList.add("is-live");
  let last = null;
  let [seen, stale] = [false, true];
  const redraw = () => {
    stale = false;
    state.width = Math.max(280, Math.min(figure.closest("#summary") ? WIDEST_LEAD : WIDEST, plot.clientWidth || 640));
    last = draw(state, view);
    const said = last.note ? [element("p", { class: "note" }, last.note)] : [];
    plot.replaceChildren(...(last.chart ? [last.chart] : []), ...said);
    for (const button of bar.querySelectorAll("[data-save]")) button.hidden = !last.chart;
    if (!last.chart) return;
    last.chart.setAttribute("data-chart", name);
    entitle(last.chart, figure);
    listen(last, redraw);
  };
  const again = () => {
    stale = true;
    if (seen) redraw();
  };
  bar.append(...pickersOf(pickers));
  bar.append(...controls.map((one) => control(one, state, again)));
  bar.append(...buttons(name, figure, () => last));
  bar.append(allAgain());
  // A figure is drawn while it is nearly seen, so that the page answers at once however many figures it has.
  new IntersectionObserver((entries) => {
    seen = entries.at(-1).isIntersecting;
    if (seen && stale) redraw();
  }, { rootMargin: "400px" }).observe(figure);
  let width = 0;
  new ResizeObserver(() => {
    if (Math.abs(plot.clientWidth - width) < 2) return;
    width = plot.clientWidth;
    again();
  }).observe(plot);
  onChange(again);
  dark.addEventListener("change", again);
  if (sizes) box.insertBefore(legend(), plot);
  if (keys) box.insertBefore(ownLegend(state, keys, again), plot);
}

// A drawing is one picture to a screen reader; what it shows stands in the tables and in the CSV file.
function entitle(chart, figure) {
  const title = figure.querySelector("figcaption b")?.textContent ?? "Figure";
  for (const svg of chart.matches("svg") ? [chart] : chart.querySelectorAll("svg")) {
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", title);
    for (const group of svg.querySelectorAll("g[aria-label]")) group.removeAttribute("aria-label");
  }
}

// A click on what the pointer of Plot has found pins its run, or does what the figure says. A drag keeps what it frames.
// `brush` is {runs, x, y}, or a list with one for each of several panels.
function listen({ chart, click, brush }, redraw) {
  const drawings = chart.matches("svg, figure") ? [chart] : [...chart.querySelectorAll(":scope > svg, :scope > figure")];
  drawings.forEach((drawing, at) => {
    const own = Array.isArray(brush) ? brush[at] : brush;
    const dragged = own ? brushed(drawing, own) : () => false;
    drawing.addEventListener("click", () => {
      if (dragged() || !drawing.value) return;
      if (click) {
        click(drawing.value);
        redraw();
      } else if (drawing.value.id) {
        pin(drawing.value.id);
      }
    });
  });
}

// What brings all runs back after a drag.
function allAgain() {
  const button = element("button", { type: "button", class: "all-runs" });
  button.addEventListener("click", () => change({ only: null }));
  const show = () => {
    button.hidden = view.only === null;
    button.textContent = `${view.only?.size} of ${study.runs.run_id.length} runs - show all`;
  };
  onChange(show);
  show();
  return button;
}

// A button for each size, which hides it everywhere.
function legend() {
  const box = element("div", { class: "bar sizes", role: "group", "aria-label": "Sizes shown" });
  const show = () => {
    const sizes = [...new Set(study.runs[view.size])].sort((a, b) => a - b);
    const colour = d3.scaleSequentialLog(d3.extent(sizes), shade());
    box.hidden = sizes.length > MOST_SIZES || sizes.length < 2;
    if (box.hidden) return;
    box.replaceChildren("N: ", ...sizes.map((size) => {
      const button = swatched(metric(size), colour(size), !view.hidden.has(size), () => toggle(size));
      button.dataset.size = size;
      return button;
    }));
  };
  onChange(show);
  dark.addEventListener("change", show);
  show();
  return box;
}

// A button for each thing that a figure shows, which hides it there.
function ownLegend(state, keys, redraw) {
  const box = element("div", { class: "bar sizes", role: "group", "aria-label": "Parts shown" });
  const show = () => {
    box.replaceChildren(...keys(state, view).map(({ key, label, colour }) => {
      const button = swatched(label, colour, !state.off.has(key), () => {
        if (!state.off.delete(key)) state.off.add(key);
        show();
        redraw();
      });
      button.dataset.key = key;
      return button;
    }));
  };
  onChange(show);
  dark.addEventListener("change", show);
  show();
  return box;
}

function swatched(label, colour, shown, click) {
  const button = element("button", { type: "button", "aria-pressed": String(shown) }, label);
  const swatch = element("span", { class: "swatch" });
  swatch.style.background = colour;
  button.prepend(swatch);
  button.addEventListener("click", click);
  return button;
}

function toggle(size) {
  const hidden = new Set(view.hidden);
  if (!hidden.delete(size)) hidden.add(size);
  change({ hidden });
}

function pickersOf(wanted) {
  const made = [];
  const names = { loss: "Loss", size: "N", flops: "C" };
  const options = { loss: study.losses, size: study.workdir ? study.sizes : {}, flops: study.flops };
  for (const [key, labels] of Object.entries(options)) {
    if (!wanted.includes(key) || Object.keys(labels).length < 2) continue;
    const select = element("select", { "data-picker": key });
    for (const [value, label] of Object.entries(labels)) select.append(new Option(label, value));
    const show = () => (select.value = view[key]);
    select.addEventListener("change", () => change({ [key]: select.value }));
    onChange(show);
    show();
    made.push(labelled(names[key], select));
  }
  return made;
}

// A control is a choice ({options}), a slider ({min, max, step}) or a switch; `say` puts its value into words.
function control(one, state, redraw) {
  if (one.options) {
    const select = element("select", { "data-control": one.name });
    for (const [value, label] of Object.entries(one.options)) select.append(new Option(label, value));
    select.value = one.value;
    select.addEventListener("change", () => set(select.value));
    return labelled(one.label, select);
  }
  if (one.max !== undefined) {
    const slider = element("input", { type: "range", min: one.min, max: one.max, step: one.step, "data-control": one.name });
    slider.value = one.value;
    const shown = element("output", {}, one.say(one.value));
    slider.addEventListener("input", () => {
      shown.textContent = one.say(Number(slider.value));
      set(Number(slider.value));
    });
    return labelled(one.label, slider, shown);
  }
  const button = element("button", { type: "button", "data-control": one.name, "aria-pressed": String(one.value) }, one.label);
  button.addEventListener("click", () => {
    set(!state[one.name]);
    button.setAttribute("aria-pressed", String(state[one.name]));
  });
  return button;

  function set(value) {
    state[one.name] = value;
    redraw();
  }
}

function buttons(name, figure, last) {
  const svg = element("button", { type: "button", "data-save": "svg" }, "SVG");
  const csv = element("button", { type: "button", "data-save": "csv" }, "CSV");
  const link = element("a", { href: `#${figure.id}`, class: "link" }, "link");
  svg.addEventListener("click", () => last()?.chart && saveSvg(last().chart, name));
  csv.addEventListener("click", () => last() && saveCsv(last().rows, name));
  link.addEventListener("pointerdown", () => (link.href = address(figure.id)));
  link.addEventListener("focus", () => (link.href = address(figure.id)));
  const files = element("span", { class: "files" });
  files.append(svg, csv, link);
  return [files];
}

export function labelled(text, ...inputs) {
  const label = element("label", {}, `${text} `);
  label.append(...inputs);
  return label;
}

export function element(tag, attributes = {}, text = "") {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.textContent = text;
  return made;
}

// The colour of a size, light enough in the dark: viridis, which colour-blind readers can order.
export function sizeScale(size) {
  const sizes = study.runs[size];
  const bar = new Set(sizes).size > MOST_SIZES ? colourBar(sizes, study.sizes[size], metric) : {};
  return { type: "log", domain: d3.extent(sizes), interpolate: shade(), ...bar };
}

// The part of a scheme that is seen on the page, in the light or in the dark.
export function shade(scheme = d3.interpolateViridis) {
  const [low, high] = dark.matches ? [0.28, 1] : [0, 0.88];
  return (t) => scheme(low + (high - low) * t);
}
