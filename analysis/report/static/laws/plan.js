// What a law says about training with a compute: the same numbers as `vsweep plan-from-law`.
import { excess, exponentA, loss as lossOf, paramsOpt, resampledLaws, tokensOpt } from "./law.js";
import { normalQuantile } from "./normal.js";
import { planScarce, resampledRepeats } from "./repeated.js";

const QUANTILES_OF_ONE_RUN = 199;

// A law with its resamples, from which come intervals of any quantity; they are left out where they are too few.
// `sd` is the scatter of the log loss of single runs about the law, null where it is not known.
export function lawsOf(law, resamples, sd, level) {
  const enough = resamples.length >= Math.ceil(2 / (1 - level) - 1e-9) ? resamples : [];
  const tail = (1 - level) / 2;
  const each = (quantity) => [law, ...enough].map(quantity);
  // Quantiles outward to the next value, so that infinite ones do no harm.
  const interval = (values) => {
    const sorted = Float64Array.from(values).sort();
    const last = sorted.length - 1;
    return [sorted[Math.floor(last * tail)], sorted[Math.ceil(last * (1 - tail))]];
  };
  const ofValues = ([value, ...others]) => {
    const [low, high] = others.length ? interval(others) : [null, null];
    return { value, low, high };
  };
  // The range of one run: its scatter about each law, on top of the spread of the laws.
  const singleRun = (loss) => {
    if (sd === null || sd === undefined) return null;
    const [value, ...others] = each(loss);
    if (!others.length) {
      const scatter = sd * normalQuantile(1 - tail);
      return [value * Math.exp(-scatter), value * Math.exp(scatter)];
    }
    const factors = Array.from({ length: QUANTILES_OF_ONE_RUN }, (_, at) => Math.exp(sd * normalQuantile((at + 0.5) / QUANTILES_OF_ONE_RUN)));
    const runs = interval(others.flatMap((one) => factors.map((factor) => factor * one)));
    const laws = interval(others);
    return [Math.min(runs[0], laws[0]), Math.max(runs[1], laws[1])];
  };
  return { law, resamples: enough, level, each, ofValues, singleRun, estimate: (quantity) => ofValues(each(quantity)) };
}

// The parametric law of fits.json.
export function parametricLaws(fitted, level) {
  return lawsOf(fitted, resampledLaws(fitted), fitted.residual_sd_log, level);
}

// Its law of repeated data; null where it has none.
export function repeatedLaws(fitted, level) {
  return fitted && !fitted.refused ? lawsOf(fitted, resampledRepeats(fitted), fitted.residual_sd_log, level) : null;
}

// asked: {flops, reserve, served, tokens, unique}; the last three may be null. `repeats` are the laws of repeated data.
export function plan(laws, asked, repeats = null) {
  const flops = (1 - asked.reserve) * asked.flops;
  const [N, D] = [paramsOpt(laws.law, flops), tokensOpt(laws.law, flops)];
  if (!(N >= 1 && D >= 1 && N < Infinity && D < Infinity)) {
    return { refused: `by this law ${flops.toExponential(2)} FLOP would train ${N.toPrecision(3)} parameters` };
  }
  const loss = (law) => lossOf(law, N, D);
  return {
    flops,
    params: laws.estimate((law) => paramsOpt(law, flops)),
    tokens: laws.estimate((law) => tokensOpt(law, flops)),
    tokens_per_param: laws.estimate((law) => tokensOpt(law, flops) / paramsOpt(law, flops)),
    loss: laws.estimate(loss),
    single_run: laws.singleRun(loss),
    serving: asked.served ? serving(laws, flops, asked.served) : null,
    fixed_tokens: asked.tokens ? fixedTokens(laws, flops, asked.tokens) : null,
    scarce: asked.unique && repeats ? planScarce(repeats, flops, asked.unique) : null,
    reserve: asked.reserve ? reserveOf(laws, asked.flops, asked.reserve) : null,
  };
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
    params: laws.estimate((law) => paramsForServing(law, planned(law, laws.law, flops), served)),
    tokens: laws.estimate(tokens),
    tokens_per_param: laws.estimate((law) => tokens(law) / best),
    total_flops: laws.estimate(total),
    saved: laws.estimate((law) => 1 - total(law) / whole),
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
    loss: laws.estimate((law) => lossOf(law, N, tokens)),
    floor: laws.estimate((law) => law.E + law.B * tokens ** -law.beta),
  };
}

function reserveOf(laws, flops, share) {
  const [used, kept] = [(1 - share) * flops, share * flops];
  return {
    given_up: laws.estimate((law) => planned(law, laws.law, used) - planned(law, laws.law, flops)),
    loss_of_rerun: laws.estimate((law) => law.E + planned(law, laws.law, kept)),
  };
}
