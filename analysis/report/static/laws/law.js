// L(N, D) = E + A / N^alpha + B / D^beta and what follows from it (Hoffmann et al. 2022, equations 2 and 4).

export const HOFFMANN = { E: 1.69, A: 406.4, B: 410.7, alpha: 0.34, beta: 0.28 };

export function loss(law, N, D) {
  return law.E + excess(law, N, D);
}

export function excess(law, N, D) {
  return law.A * N ** -law.alpha + law.B * D ** -law.beta;
}

export function exponentA(law) {
  return law.beta / (law.alpha + law.beta);
}

function logG(law) {
  const factors = Math.log(law.alpha) + Math.log(law.A) - Math.log(law.beta) - Math.log(law.B);
  return factors / (law.alpha + law.beta);
}

export function paramsOpt(law, C) {
  return Math.exp(logG(law) + exponentA(law) * Math.log(C / 6));
}

export function tokensOpt(law, C) {
  return Math.exp((1 - exponentA(law)) * Math.log(C / 6) - logG(law));
}

// L at the compute-optimal split of C.
export function lossOpt(law, C) {
  return loss(law, paramsOpt(law, C), tokensOpt(law, C));
}

// The law of each resample, from the columns of fits.json.
export function resampledLaws(fitted) {
  const columns = fitted.resamples ?? {};
  return (columns.alpha ?? []).map((_, at) => ({
    E: columns.E[at],
    A: columns.A[at],
    B: columns.B[at],
    alpha: columns.alpha[at],
    beta: columns.beta[at],
  }));
}
