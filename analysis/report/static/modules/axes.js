// Axes with marks that do not run into each other: on a log axis round values, as many as there is room for.

const MULTIPLES = [[1, 1.5, 2, 3, 5, 7], [1, 2, 5], [1, 3], [1]]; // of a power of ten, the densest first
const FEW_DECADES = 0.5; // below, round values at equal distances read better
const WIDE = 46; // pixels of a mark along an axis, and of one above another
const HIGH = 42;

// Room for the marks and labels of the axes of a figure, and for dots at their ends.
export const ROOM = { marginLeft: 52, marginRight: 30, marginBottom: 42, inset: 5, grid: true };
// d3 leaves the labels of a log axis out that it holds for too many; of this base it holds none for that.
const ALL_LABELS = 1_000_000.5;

// The scale of an axis of Plot over these values; `pixels` is its length.
export function axisX(log, values, pixels, more) {
  return axis(log, values, Math.max(2, Math.floor(pixels / WIDE)), more);
}

// An axis of compute in FLOP, whose marks are powers of ten: these take more room.
export function axisC(log, values, pixels, label) {
  return axis(log, values, Math.max(2, Math.floor(pixels / (1.4 * WIDE))), { label, tickFormat: powerOfTen });
}

// Such as 3×10¹⁵, or 1.05×10¹⁵ on an axis of less than a decade.
export function powerOfTen(value) {
  const [mantissa, power] = value.toExponential(2).split("e");
  const raised = [...String(Number(power))].map((digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit] ?? "⁻").join("");
  return `${Number(mantissa) === 1 ? "" : `${Number(mantissa)}×`}10${raised}`;
}

export function axisY(log, values, pixels, more) {
  return axis(log, values, Math.max(3, Math.floor(pixels / HIGH)), more);
}

function axis(log, values, most, more) {
  const [low, high] = d3.extent(values);
  return { type: log ? "log" : "linear", ...(log ? { base: ALL_LABELS } : {}), ticks: log && low > 0 ? marks(low, high, most) : most, ...more };
}

// At most so many round values from low to high; those of whole decades where there is room for no more.
export function marks(low, high, most) {
  const decades = Math.log10(high / low);
  // Equal distances shrink towards the high end of a log axis.
  if (!(decades > FEW_DECADES)) return evenly(low, high, Math.max(2, Math.floor(most * Math.sqrt(low / high))));
  const powers = d3.range(Math.floor(Math.log10(low)), Math.ceil(Math.log10(high)) + 1);
  const inside = (values) => values.filter((at) => low <= at && at <= high);
  const choices = MULTIPLES.map((multiples) => inside(powers.flatMap((power) => multiples.map((times) => times * 10 ** power))));
  const every = Math.ceil(powers.length / most);
  choices.push(inside(powers.filter((power) => power % every === 0).map((power) => 10 ** power)));
  const found = choices.find((values) => values.length <= most && values.length > 2) ?? choices.find((values) => values.length <= most && values.length > 1);
  return found ?? evenly(low, high, most);
}

// d3 may give twice as many as one asks for.
function evenly(low, high, most) {
  const choices = d3.range(most, 1, -1).map((count) => d3.ticks(low, high, count));
  return choices.find((values) => values.length <= most && values.length > 1) ?? [low, high];
}

// The legend of colours on a log scale over these values.
export function colourBar(values, label, tickFormat) {
  return { legend: true, label, tickFormat, ticks: marks(...d3.extent(values), 4), marginLeft: 16, marginRight: 24 };
}
