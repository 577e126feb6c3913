// Brings the page to life: live figures over the static ones, the lesson, the planner, sorted tables, the pinned run.
import { anchors, controls as ofAnchors } from "../figures/anchors.js";
import { bowls, controlsOf as ofBowls, settingsWithBowls } from "../figures/bowls.js";
import { controlsOf as ofExponent, exponent } from "../figures/exponent.js";
import { controls as ofLawMeasured, lawMeasured } from "../figures/law_measured.js";
import { controlsOf as ofLossCompute, lossCompute } from "../figures/loss_compute.js";
import { controls as ofMetric, metricFlip } from "../figures/metric.js";
import { controls as ofOneVariable, keys as partsOfOne, oneVariable } from "../figures/one_variable.js";
import { planner } from "../figures/planner.js";
import { controlsOf as ofRecipes, recipes } from "../figures/recipes.js";
import { controls as ofSeeds, keys as cellsOfSeeds, seedSpread } from "../figures/seeds.js";
import { controlsOf as ofSplit, split } from "../figures/split.js";
import { controls as ofValleys, valleys } from "../figures/valleys.js";
import { card } from "./card.js";
import { frame } from "./frame.js";
import { tables } from "./table.js";
import { study } from "./study.js";
import { goToAddress, readAddress } from "./view.js";

onlyOne();
readAddress();
frame("loss_curves", lossCompute, { controls: ofLossCompute, sizes: true });
frame("isoflop_valleys", valleys, { controls: ofValleys });
frame("loss_and_match", metricFlip, { controls: ofMetric, sizes: true });
for (const [setting, name] of settingsWithBowls()) {
  frame(name, (state, view) => bowls(setting, state, view), { controls: ofBowls(setting), pickers: ["loss"], sizes: true });
}
frame(`seed_spread_${Object.keys(study.losses)[0]}`, seedSpread, { controls: ofSeeds, pickers: ["loss"], keys: cellsOfSeeds });
if (study.variable) frame("one_variable", oneVariable, { controls: ofOneVariable, pickers: ["loss"], keys: partsOfOne });
frame("law_measured", lawMeasured, { controls: ofLawMeasured, pickers: ["loss"], sizes: true });
frame("exponent", exponent, { controls: ofExponent, pickers: ["loss"] });
frame("anchors", anchors, { controls: ofAnchors, pickers: ["loss"] });
frame("split", split, { controls: ofSplit, pickers: ["loss"] });
frame("recipes", recipes, { controls: ofRecipes, pickers: ["loss"] });
planner();
tables();
card();
goToAddress();
document.documentElement.dataset.ready = "yes";

// A notebook may show one figure alone. Links within the page lead nowhere in a frame without an address.
function onlyOne() {
  const only = document.getElementById(document.documentElement.dataset.only ?? "");
  if (only) {
    document.querySelector("main").replaceChildren(only);
    for (const rest of document.querySelectorAll("header, nav, .skip")) rest.remove();
  }
  if (location.protocol !== "about:") return;
  document.addEventListener("click", (event) => {
    const link = event.target.closest('a[href^="#"]');
    if (!link) return;
    event.preventDefault();
    const parts = new URLSearchParams(link.hash.slice(1));
    document.getElementById(parts.get("at") ?? link.hash.slice(1))?.scrollIntoView();
  });
}
