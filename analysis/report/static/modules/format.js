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
    if (value >= size) return `${Number((value / size).toPrecision(3))}${unit}`;
  }
  return String(Number(value.toPrecision(3)));
}

export function percent(share) {
  return `${Number((100 * share).toPrecision(2))} %`;
}
