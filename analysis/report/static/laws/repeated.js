// The law of repeated data: what N parameters reach on D tokens of which U are unique (Muennighoff et al. 2023,
// equations 5 to 7), as in analysis/approaches/repeated_law.py.
import { loss as lossOf, paramsOpt, tokensOpt } from "./law.js";

const STEPS = 400; // of the search for the best split of a compute, and how often it looks closer
const ZOOMS = 3;

function logG(law) {
  return (Math.log(law.alpha) + Math.log(law.A) - Math.log(law.beta) - Math.log(law.B)) / (law.alpha + law.beta);
}

// log of the N for which so many unique tokens are compute-optimal.
function logParamsUsed(law, logTokens) {
  const g = logG(law);
  return g + (law.beta / law.alpha) * (logTokens + g);
}

// log of 1 + R (1 - exp(-(ratio - 1) / R)): what `ratio` times the unique amount is worth, in unique amounts.
function logWorth(logRatio, R) {
  const r = Math.exp(Math.max(-20, Math.min(20, Math.log(R))));
  return Math.log1p(-r * Math.expm1(-Math.expm1(Math.min(logRatio, 300)) / r));
}

export function repeatedLoss(law, logN, logD, unique) {
  const freshD = Math.min(logD, Math.log(unique));
  const freshN = Math.min(logN, logParamsUsed(law, freshD));
  const worthN = freshN + logWorth(logN - freshN, law.R_N);
  const worthD = freshD + logWorth(logD - freshD, law.R_D);
  return law.E + law.A * Math.exp(-law.alpha * worthN) + law.B * Math.exp(-law.beta * worthD);
}

// The N with the lowest loss at C = 6ND and so many unique tokens.
export function repeatedParamsOpt(law, flops, unique) {
  const logC = Math.log(flops / 6);
  let [low, high] = [logParamsUsed(law, Math.log(unique)), logC - Math.log(unique)];
  if (!(low < high)) return paramsOpt(law, flops);
  let best = low;
  for (let zoom = 0; zoom < ZOOMS; zoom += 1) {
    const step = (high - low) / (STEPS - 1);
    const at = (place) => (place === STEPS - 1 ? high : low + place * step);
    let [lowest, found] = [Infinity, 0];
    for (let place = 0; place < STEPS; place += 1) {
      const value = repeatedLoss(law, at(place), logC - at(place), unique);
      if (value < lowest) [lowest, found] = [value, place];
    }
    [best, low, high] = [at(found), at(Math.max(found - 1, 0)), at(Math.min(found + 1, STEPS - 1))];
  }
  return Math.exp(best);
}

// The law of fits.json with its resamples, as `lawsOf` of plan.js has that of N and D.
export function resampledRepeats(fitted) {
  const columns = fitted.resamples ?? {};
  const names = ["E", "A", "B", "alpha", "beta", "R_D", "R_N"];
  return (columns.alpha ?? []).map((_, at) => Object.fromEntries(names.map((name) => [name, columns[name][at]])));
}

// The best run with `flops` and so many distinct tokens. `laws` has {estimate, singleRun, law}.
export function planScarce(laws, flops, unique) {
  const { law } = laws;
  const N = repeatedParamsOpt(law, flops, unique);
  const D = flops / (6 * N);
  if (!(N >= 1 && D >= 1 && N < Infinity && D < Infinity)) {
    return { refused: `${flops.toExponential(2)} FLOP would train ${N.toPrecision(3)} parameters on ${D.toPrecision(3)} tokens` };
  }
  const [most, enough] = [paramsOpt(law, flops), tokensOpt(law, flops)];
  const sizes = laws.each((one) => repeatedParamsOpt(one, flops, unique));
  const loss = (one) => repeatedLoss(one, Math.log(N), Math.log(D), unique);
  return {
    unique,
    params: laws.ofValues(sizes),
    tokens: laws.ofValues(sizes.map((size) => flops / (6 * size))),
    epochs: laws.ofValues(sizes.map((size) => flops / (6 * size * unique))),
    loss: laws.estimate(loss),
    single_run: laws.singleRun(loss),
    unlimited: laws.estimate((one) => lossOf(one, most, enough)),
    worse: laws.estimate((one) => loss(one) - lossOf(one, most, enough)),
  };
}
