// What all figures show at once: which loss, N and C, and which run is pinned. It stands in the address of the page.
// `hidden` are sizes that are not shown, `only` the runs that a drag has kept (null for all).
import { study } from "./study.js";

const listeners = [];
const allowed = {
  loss: Object.keys(study.losses),
  size: Object.keys(study.sizes),
  flops: Object.keys(study.flops),
};

export const view = { loss: allowed.loss[0], size: study.size, flops: study.compute, run: null, hidden: new Set(), only: null };

export function onChange(listener) {
  listeners.push(listener);
}

export function change(patch) {
  Object.assign(view, patch);
  write();
  listeners.forEach((listener) => listener());
}

export function pin(id) {
  change({ run: view.run === id ? null : id });
}

// #at=figure-loss_curves&loss=val_loss&run=w4-d125k-s0 is a link to one figure as it is shown now.
export function readAddress() {
  const parts = new URLSearchParams(location.hash.slice(1));
  for (const key of Object.keys(allowed)) if (allowed[key].includes(parts.get(key))) view[key] = parts.get(key);
  if (study.runs.run_id.includes(parts.get("run"))) view.run = parts.get("run");
}

// Once all figures have their places.
export function goToAddress() {
  const at = new URLSearchParams(location.hash.slice(1)).get("at");
  document.getElementById(at ?? "")?.scrollIntoView({ behavior: "instant" });
}

export function address(at) {
  const parts = new URLSearchParams(at ? { at } : {});
  if (view.loss !== allowed.loss[0]) parts.set("loss", view.loss);
  if (view.size !== study.size) parts.set("size", view.size);
  if (view.flops !== study.compute) parts.set("flops", view.flops);
  if (view.run) parts.set("run", view.run);
  return `#${parts}`;
}

function write() {
  // A page inside a notebook has no address of its own.
  if (location.protocol !== "about:") history.replaceState(null, "", address(null));
}
