// Axes with marks that do not run into each other: on a log axis round values, as many as there is room for.

const MULTIPLES = [[1, 1.5, 2, 3, 5, 7], [1, 2, 5], [1, 3], [1]]; // of a power of ten, the densest first
const FEW_DECADES = 0.35; // below, round values at equal distances read better
const WIDE = 64; // pixels of a mark along an axis, and of one above another
const HIGH = 42;

// The scale of an axis of Plot over these values; `pixels` is its length.
export function axisX(log, values, pixels, more) {
  return axis(log, values, Math.max(2, Math.floor(pixels / WIDE)), more);
}

export function axisY(log, values, pixels, more) {
  return axis(log, values, Math.max(3, Math.floor(pixels / HIGH)), more);
}

function axis(log, values, most, more) {
  const [low, high] = d3.extent(values);
  return { type: log ? "log" : "linear", ticks: log && low > 0 ? marks(low, high, most) : most, ...more };
}

export function marks(low, high, most) {
  const decades = Math.log10(high / low);
  if (!(decades > FEW_DECADES)) return d3.ticks(low, high, most);
  const powers = d3.range(Math.floor(Math.log10(low)), Math.ceil(Math.log10(high)) + 1);
  for (const multiples of MULTIPLES) {
    const found = powers.flatMap((power) => multiples.map((times) => times * 10 ** power)).filter((at) => low <= at && at <= high);
    if (found.length <= most && found.length > 1) return found;
  }
  const every = Math.ceil(powers.length / most);
  const few = powers.filter((power) => power % every === 0).map((power) => 10 ** power).filter((at) => low <= at && at <= high);
  return few.length > 1 ? few : [low, high];
}
