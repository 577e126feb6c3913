"""Sentences about one-dimensional laws: where a power law holds along N or D, and where it breaks."""

import numpy as np
from vsweep.analysis.formatting import count, metric, percent
from vsweep.analysis.sections.lines import Line
from vsweep.analysis.sections.study import LossStudy

OTHER = {"N": "D", "D": "N"}


def about_lines(study: LossStudy) -> list[str]:
    """Where a power law holds along each axis, where it breaks, and where nothing is gained."""
    sentences = []
    for axis, held in (("N", "budget"), ("D", "size")):
        lines = study.lines.along(axis)
        judged = [line for line in lines if line.holds is not None and not line.flat]
        broken = [line for line in judged if not line.holds]
        if judged:
            sentences.append(_verdict(axis, held, judged, broken))
        if broken and (median := _median_r2(broken)) > 0.9:
            sentences.append(
                f"those lines against {axis} still have a median R^2 of {median:.3f}, which shows how little R^2 says."
            )
        largest = study.lines.at_largest(axis)
        if largest is not None:
            sentences.append(_about_largest(largest))
        with_break = [line for line in lines if line.broken]
        if with_break:
            sentences.append(_about_breaks(axis, with_break))
        with_plateau = [line for line in lines if line.plateau]
        if with_plateau:
            sentences.append(_about_plateau(axis, with_plateau))
        flat = [line for line in lines if line.flat]
        if flat and not study.convention.floor_free:
            # With E free a flat loss may simply be the floor.
            sentences.append(_about_flat(axis, flat))
    return sentences


def _verdict(axis: str, held: str, judged: list[Line], broken: list[Line]) -> str:
    held_to = f"at {count(len(judged), held)}"
    missed = [abs(line.forecast_log) for line in judged if line.forecast_log is not None]
    typical = percent(float(np.median(missed))) if missed else ""
    forecast = (
        f" The last point of each line, forecast from the others, is missed by {typical} (median)." if missed else ""
    )
    if not broken:
        return (
            f"loss against {axis} {held_to}: a power law with an offset holds within the noise between seeds.{forecast}"
        )
    slopes = np.concatenate([line.local_slope for line in broken])
    return (
        f"loss against {axis} {held_to}: no power law holds for {len(broken)} of them, not even with an offset - "
        f"residuals beyond the noise between seeds, and local slopes from {slopes.max():.2f} to {slopes.min():.2f}."
        f"{forecast}"
    )


def _about_largest(line: Line) -> str:
    """Kaplan's L(N) or L(D), where the other quantity limits the loss least."""
    doubt = "; that line is no power law, so its exponent means little" if line.holds is False else ""
    return f"where {OTHER[line.axis]} limits least, {line.describe()}{doubt}."


def _about_breaks(axis: str, lines: list[Line]) -> str:
    """Where a broken power law foretells better, it says where the break lies."""
    each = ", ".join(f"{metric(line.broken.values['d1'])} (at {OTHER[axis]} = {metric(line.at)})" for line in lines)
    missed = float(np.median([line.broken.held_out[-1].rms_log for line in lines]))
    return (
        f"a broken power law foretells {count(len(lines), 'line')} against {axis} better than one with an offset, with "
        f"breaks at {axis} = {each}; it still misses what was held out by {percent(missed)} (median)."
    )


def _median_r2(lines: list[Line]) -> float:
    return float(np.median([line.r2_log for line in lines]))


def _about_plateau(axis: str, lines: list[Line]) -> str:
    longest = max(lines, key=lambda line: line.plateau.last_x / line.plateau.first_x)
    plateau = longest.plateau
    low, high = min(line.plateau.low for line in lines), max(line.plateau.high for line in lines)
    return (
        f"a plateau, then a fall, on {count(len(lines), 'line')} against {axis}, at a loss of {low:.3g} to {high:.3g}; "
        f"the longest, at {OTHER[axis]} = {metric(longest.at)}, reaches from {axis} = {metric(plateau.first_x)} to "
        f"{metric(plateau.last_x)} and then falls with a slope of {plateau.fall_slope:.2f} between "
        f"{metric(plateau.fall_from)} and {metric(plateau.fall_to)}."
    )


def _about_flat(axis: str, lines: list[Line]) -> str:
    low, high = min(line.loss.min() for line in lines), max(line.loss.max() for line in lines)
    at = ", ".join(metric(line.at) for line in lines)
    return f"along {axis} nothing is gained at {OTHER[axis]} = {at}: the loss stays between {low:.3g} and {high:.3g}."
