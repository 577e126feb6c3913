// What a law says about training with a compute: the same numbers as `vsweep plan-from-law`.
import { excess, exponentA, loss as lossOf, paramsOpt, resampledLaws, tokensOpt } from "./law.js";

// The law of fits.json with its resamples; these are left out where they are too few for an interval.
export function lawsOf(fitted, level) {
  const resamples = resampledLaws(fitted);
  const needed = Math.ceil(2 / (1 - level) - 1e-9);
  return { law: fitted, resamples: resamples.length >= needed ? resamples : [], level };
}

// asked: {flops, reserve, served, tokens}; the last two may be null.
export function plan(laws, asked) {
  const flops = (1 - asked.reserve) * asked.flops;
  const [N, D] = [paramsOpt(laws.law, flops), tokensOpt(laws.law, flops)];
  if (!(N >= 1 && D >= 1 && N < Infinity && D < Infinity)) {
    return { refused: `by this law ${flops.toExponential(2)} FLOP would train ${N.toPrecision(3)} parameters` };
  }
  return {
    flops,
    params: estimate(laws, (law) => paramsOpt(law, flops)),
    tokens: estimate(laws, (law) => tokensOpt(law, flops)),
    tokens_per_param: estimate(laws, (law) => tokensOpt(law, flops) / paramsOpt(law, flops)),
    loss: estimate(laws, (law) => lossOf(law, N, D)),
    serving: asked.served ? serving(laws, flops, asked.served) : null,
    fixed_tokens: asked.tokens ? fixedTokens(laws, flops, asked.tokens) : null,
    reserve: asked.reserve ? reserveOf(laws, asked.flops, asked.reserve) : null,
  };
}

// A quantity by the fitted law, with its quantiles over the resampled laws, rounded outward.
function estimate(laws, quantity) {
  const value = quantity(laws.law);
  if (!laws.resamples.length) return { value, low: null, high: null };
  const sorted = laws.resamples.map(quantity).sort((a, b) => a - b);
  const tail = (1 - laws.level) / 2;
  const last = sorted.length - 1;
  return { value, low: sorted[Math.floor(last * tail)], high: sorted[Math.ceil(last * (1 - tail))] };
}

function planned(law, planner, flops) {
  return excess(law, paramsOpt(planner, flops), tokensOpt(planner, flops));
}

function tokensFor(law, N, above) {
  const left = above - law.A * N ** -law.alpha;
  return left > 0 ? (law.B / left) ** (1 / law.beta) : Infinity;
}

function serving(laws, flops, served) {
  const best = paramsForServing(laws.law, planned(laws.law, laws.law, flops), served);
  const tokens = (law) => tokensFor(law, best, planned(law, laws.law, flops));
  const whole = flops + 2 * paramsOpt(laws.law, flops) * served;
  const total = (law) => 6 * best * tokens(law) + 2 * best * served;
  return {
    params: estimate(laws, (law) => paramsForServing(law, planned(law, laws.law, flops), served)),
    tokens: estimate(laws, tokens),
    tokens_per_param: estimate(laws, (law) => tokens(law) / best),
    total_flops: estimate(laws, total),
    saved: estimate(laws, (law) => 1 - total(law) / whole),
  };
}

// The N with the least 6ND + 2NT at a given L - E (Sardana et al. 2023, section 2), as in analysis/planner/allocation.py:
// in w = logit u - logit u_opt, where u is the share of L - E that is left to N, one side rises steadily.
export function paramsForServing(law, above, served) {
  const start = Math.log(law.beta / law.alpha);
  const b = 1 - exponentA(law);
  const ratio = served / (3 * (law.B / (b * above)) ** (1 / law.beta));
  const softplus = (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
  const side = (w) => (softplus(start + w) - softplus(start)) / law.beta + Math.log(Math.expm1(w)) - Math.log(ratio);
  let low = Math.min(Math.min(law.beta, 1, ratio / Math.E ** 2), Math.log1p(ratio) / 2);
  let high = Math.log1p(ratio);
  for (let step = 0; step < 200 && high - low > 1e-16 * high; step += 1) {
    const middle = Math.sqrt(low * high);
    if (middle <= low || middle >= high) break;
    if (side(middle) < 0) low = middle;
    else high = middle;
  }
  const u = 1 / (1 + Math.exp(-(start + (low + high) / 2)));
  return (law.A / (u * above)) ** (1 / law.alpha);
}

function fixedTokens(laws, flops, tokens) {
  const N = flops / (6 * tokens);
  return {
    scarce: tokens < tokensOpt(laws.law, flops),
    params: { value: N, low: null, high: null },
    loss: estimate(laws, (law) => lossOf(law, N, tokens)),
    floor: estimate(laws, (law) => law.E + law.B * tokens ** -law.beta),
  };
}

function reserveOf(laws, flops, share) {
  const [used, kept] = [(1 - share) * flops, share * flops];
  return {
    given_up: estimate(laws, (law) => planned(law, laws.law, used) - planned(law, laws.law, flops)),
    loss_of_rerun: estimate(laws, (law) => law.E + planned(law, laws.law, kept)),
  };
}
