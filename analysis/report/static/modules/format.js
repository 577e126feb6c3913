// Numbers as words, short enough for a tooltip.

export function number(value) {
  if (value === null || value === undefined) return "not known";
  if (value === Infinity) return "without end";
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e5 || size < 1e-3)) return value.toExponential(3).replace("e+", "e");
  return String(Number(value.toPrecision(5)));
}

export function metric(value) {
  if (!Number.isFinite(value)) return number(value);
  for (const [size, unit] of [[1e12, "T"], [1e9, "B"], [1e6, "M"], [1e3, "k"]]) {
    if (value >= 0.9995 * size) return `${Number((value / size).toPrecision(3))}${unit}`;
  }
  return general(value, 3);
}

export function percent(share) {
  return `${Number((100 * share).toPrecision(2))} %`;
}

// As `vsweep plan-from-law` prints them: parameters or tokens, losses, and shares.

export function amount(value) {
  if (value === Infinity) return "never";
  return value >= 1e16 ? value.toExponential(2).replace("e+", "e") : metric(value);
}

export function lossInWords(value) {
  const size = Math.abs(value);
  return value === 0 || (size >= 0.01 && size < 1e4) ? value.toFixed(4) : general(value, 2);
}

export function share(value) {
  return value === Infinity ? "unbounded" : `${(100 * value).toFixed(1)} %`;
}

// As `{value:.3g}` of Python with so many digits.
function general(value, digits) {
  const [mantissa, power] = value.toExponential(digits - 1).split("e");
  if (value === 0 || (Number(power) >= -4 && Number(power) < digits)) return String(Number(value.toPrecision(digits)));
  return `${Number(mantissa)}e${power[0]}${power.slice(1).padStart(2, "0")}`;
}
