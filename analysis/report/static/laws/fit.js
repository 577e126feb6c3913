// The parametric fit of the analysis, in the page: Huber's penalty of log residuals, from a grid of starts.
//
// theta = (log A, log B, alpha, beta[, E / lowest loss]), A and B counted from the mean of log N and log D, as in
// analysis/fitting. Newton's steps with damping end at the minimum to the last digits.

const EXPONENTS = Array.from({ length: 36 }, (_, at) => 0.02 * (3 / 0.02) ** (at / 35));
const STARTS = 6;
const [MANY_POINTS, ENDS_OF_MANY] = [400, 2];
const STEPS = 400;
const FEW_STEPS = 40; // of a refit, which begins near its end
const [SMALLEST, LARGEST] = [1e-3, 8];

// points [{N, D, loss}]; floor null fits E. Returns {E, A, B, alpha, beta, value}, or {refused} with the reason.
export function fit(points, floor = null, delta = 1e-3) {
  const reason = whyNot(points, floor);
  if (reason) return { refused: reason };
  const data = centred(points);
  const ends = descents(data, floor, delta);
  const found = ends.filter((end) => end.value < Infinity).sort((a, b) => a.value - b.value)[0];
  if (!found) return { refused: "no exponents with positive E, A and B describe these points" };
  const law = lawOf(found.theta, data, floor);
  const inside = [law.alpha, law.beta].every((exponent) => exponent > SMALLEST && exponent < LARGEST);
  return inside ? { ...law, value: found.value } : { refused: "the best fit is no power law in both N and D" };
}

// Laws of `count` resamples of the cells of these points, each from the law of all of them. The draws are always the same.
export function refits(points, law, floor, count, delta = 1e-3) {
  const cells = [...Map.groupBy(points, (point) => `${point.N} ${point.budget ?? point.D}`).values()];
  const draw = generator(1);
  const laws = [];
  for (let at = 0; at < count; at += 1) {
    const drawn = cells.flatMap(() => cells[Math.floor(draw() * cells.length)]);
    if (whyNot(drawn, floor)) continue;
    const data = centred(drawn);
    const found = lawOf(newton(data, thetaOf(law, data, floor), floor, delta, FEW_STEPS), data, floor);
    if ([found.alpha, found.beta].every((exponent) => exponent > SMALLEST && exponent < LARGEST)) laws.push(found);
  }
  return laws;
}

function thetaOf(law, data, floor) {
  const factors = [Math.log(law.A) - law.alpha * data.xMean, Math.log(law.B) - law.beta * data.yMean];
  return [...factors, law.alpha, law.beta, ...(floor === null ? [law.E / data.lowest] : [])];
}

// Numbers from 0 to 1 by a linear congruential generator (Numerical Recipes, section 7.1).
function generator(seed) {
  let state = seed;
  return () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
}

function whyNot(points, floor) {
  const cells = new Set(points.map((point) => `${Math.log(point.N).toFixed(6)} ${Math.log(point.D).toFixed(6)}`));
  const needed = floor === null ? 5 : 4;
  if (new Set(points.map((point) => point.N)).size < 2) return "a single N: the law needs several sizes";
  if (new Set(points.map((point) => point.D)).size < 2) return "a single D: the law needs several amounts of data";
  if (cells.size < needed) return `${cells.size} distinct (N, D) for ${needed} parameters`;
  if (floor !== null && points.some((point) => point.loss <= floor)) return "a loss lies at or below the floor E";
  return "";
}

function centred(points) {
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const logN = points.map((point) => Math.log(point.N));
  const logD = points.map((point) => Math.log(point.D));
  const [xMean, yMean] = [mean(logN), mean(logD)];
  const losses = points.map((point) => point.loss);
  const lowest = Math.min(...losses);
  return { x: logN.map((x) => x - xMean), y: logD.map((y) => y - yMean), xMean, yMean, losses, lowest };
}

// With E > 0 and with E = 0 where E is free. E = 0 is a law of its own.
function descents(data, floor, delta) {
  const held = endsOf(data, floor ?? 0, delta);
  if (floor !== null) return held;
  const free = endsOf(data, null, delta).filter((end) => end.theta[4] >= 0);
  return [...free, ...held.map((end) => ({ ...end, theta: [...end.theta, 0] }))];
}

// Of many points a selection finds the ends, and the best of these go on with all points.
function endsOf(data, floor, delta) {
  const part = data.losses.length > MANY_POINTS ? selection(data) : data;
  const ends = starts(part, floor, delta).map((theta) => descend(part, theta, floor, delta));
  if (part === data) return ends;
  const best = ends.sort((a, b) => a.value - b.value).slice(0, ENDS_OF_MANY);
  return best.map((end) => descend(data, end.theta, floor, delta));
}

function selection(data) {
  const step = Math.ceil(data.losses.length / MANY_POINTS);
  const some = (values) => values.filter((_, at) => at % step === 0);
  return { ...data, x: some(data.x), y: some(data.y), losses: some(data.losses) };
}

function lawOf(theta, data, floor) {
  const [logA, logB, alpha, beta] = theta;
  const E = floor ?? data.lowest * theta[4];
  return { E, A: Math.exp(logA + alpha * data.xMean), B: Math.exp(logB + beta * data.yMean), alpha, beta };
}

// Starts: for each pair of exponents the law is linear in A, B and E, so least squares of relative residuals give them.
function starts(data, floor, delta) {
  const found = [];
  for (const alpha of EXPONENTS) {
    let best = null;
    for (const beta of EXPONENTS) {
      const theta = linear(data, alpha, beta, floor);
      if (!theta) continue;
      const value = objective(data, theta, floor, delta).value;
      if (best === null || value < best.value) best = { theta, value };
    }
    if (best) found.push(best);
  }
  return found.sort((a, b) => a.value - b.value).slice(0, STARTS).map((start) => start.theta);
}

function linear(data, alpha, beta, floor) {
  const free = floor === null;
  const size = free ? 3 : 2;
  const matrix = Array.from({ length: size }, () => new Array(size).fill(0));
  const right = new Array(size).fill(0);
  data.losses.forEach((loss, at) => {
    const row = [Math.exp(-alpha * data.x[at]) / loss, Math.exp(-beta * data.y[at]) / loss, ...(free ? [1 / loss] : [])];
    const target = (loss - (floor ?? 0)) / loss;
    row.forEach((left, i) => {
      right[i] += left * target;
      row.forEach((other, j) => (matrix[i][j] += left * other));
    });
  });
  const solution = solve(matrix, right);
  if (!solution || solution.some((value) => !(value > 0))) return null;
  const theta = [Math.log(solution[0]), Math.log(solution[1]), alpha, beta];
  return free ? [...theta, solution[2] / data.lowest] : theta;
}

// A larger threshold first, which rounds the kinks of the penalty off; then the one that was asked for.
function descend(data, theta, floor, delta) {
  let at = theta;
  for (const factor of [256, 64, 16, 4, 1]) at = newton(data, at, floor, delta * factor);
  return { theta: at, value: finite(objective(data, at, floor, delta).value) };
}

function finite(value) {
  return Number.isFinite(value) ? value : Infinity;
}

// Levenberg and Marquardt's damping of Newton's method: a step that does not lower the value is shortened and turned.
function newton(data, start, floor, delta, steps = STEPS) {
  let theta = start;
  let now = objective(data, theta, floor, delta, true);
  let damping = 1e-3;
  for (let step = 0; step < steps && damping < 1e14; step += 1) {
    const matrix = now.hessian.map((row, i) => row.map((value, j) => value + (i === j ? damping * (now.scale[i] + 1e-12) : 0)));
    const move = solve(matrix, now.gradient);
    const tried = move && theta.map((value, at) => value - move[at]);
    const next = tried && objective(data, tried, floor, delta, true);
    if (next && next.value < now.value && !(floor === null && tried[4] < 0)) {
      [theta, now, damping] = [tried, next, Math.max(damping / 5, 1e-15)];
    } else {
      damping *= 4;
    }
  }
  return theta;
}

// The sum of penalties, and with derivatives its gradient, its Hessian and the diagonal of its Gauss-Newton part.
function objective(data, theta, floor, delta, derivatives = false) {
  const size = floor === null ? 5 : 4;
  const gradient = new Array(size).fill(0);
  const hessian = Array.from({ length: size }, () => new Array(size).fill(0));
  const scale = new Array(size).fill(0);
  let value = 0;
  const E = floor ?? data.lowest * theta[4];
  data.losses.forEach((loss, at) => {
    const byN = Math.exp(theta[0] - theta[2] * data.x[at]);
    const byD = Math.exp(theta[1] - theta[3] * data.y[at]);
    const prediction = E + byN + byD;
    const residual = Math.log(prediction / loss);
    const slope = Math.max(-delta, Math.min(delta, residual));
    value += slope * (residual - 0.5 * slope);
    if (!derivatives) return;
    const bend = Math.abs(residual) < delta ? 1 : 0;
    const first = [byN, byD, -byN * data.x[at], -byD * data.y[at], data.lowest].slice(0, size).map((d) => d / prediction);
    const second = secondOf(data, at, byN, byD, prediction);
    for (let i = 0; i < size; i += 1) {
      gradient[i] += slope * first[i];
      scale[i] += first[i] * first[i] * Math.max(bend, 1e-3);
      for (let j = 0; j < size; j += 1) {
        hessian[i][j] += bend * first[i] * first[j] + slope * ((second[i]?.[j] ?? 0) - first[i] * first[j]);
      }
    }
  });
  return { value, gradient, hessian, scale };
}

// Second derivatives of the prediction over the prediction; those with E are zero.
function secondOf(data, at, byN, byD, prediction) {
  const [x, y, n, d] = [data.x[at], data.y[at], byN / prediction, byD / prediction];
  return [
    [n, 0, -n * x, 0],
    [0, d, 0, -d * y],
    [-n * x, 0, n * x * x, 0],
    [0, -d * y, 0, d * y * y],
  ];
}

// Gauss's elimination with pivots; null where the matrix is singular.
function solve(matrix, right) {
  const rows = matrix.map((row, at) => [...row, right[at]]);
  const size = rows.length;
  for (let column = 0; column < size; column += 1) {
    let pivot = column;
    for (let row = column + 1; row < size; row += 1) {
      if (Math.abs(rows[row][column]) > Math.abs(rows[pivot][column])) pivot = row;
    }
    if (!(Math.abs(rows[pivot][column]) > 1e-300)) return null;
    [rows[column], rows[pivot]] = [rows[pivot], rows[column]];
    for (let row = column + 1; row < size; row += 1) {
      const factor = rows[row][column] / rows[column][column];
      for (let k = column; k <= size; k += 1) rows[row][k] -= factor * rows[column][k];
    }
  }
  const solution = new Array(size).fill(0);
  for (let row = size - 1; row >= 0; row -= 1) {
    let sum = rows[row][size];
    for (let k = row + 1; k < size; k += 1) sum -= rows[row][k] * solution[k];
    solution[row] = sum / rows[row][row];
  }
  return solution.every(Number.isFinite) ? solution : null;
}
