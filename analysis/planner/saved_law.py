"""A law that was fitted before: read from fits.json with its resamples, or given by its five constants."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from vsweep import program
from vsweep.analysis.approaches.parametric import HOFFMANN, Law
from vsweep.analysis.approaches.repeated_law import RepeatedLaw
from vsweep.analysis.data.source import FLOP_CONVENTIONS, LEVEL, OWN_FLOPS, SIZE_CONVENTIONS
from vsweep.analysis.planner.results import Plan
from vsweep.analysis.tables.units import LOSS_UNITS, NATS
from vsweep.analysis.uncertainty.verdicts import DESCRIBES, DOUBTFUL, NOT_SHOWN, Judgement

CONSTANTS = ("E", "A", "B", "alpha", "beta")
MOST, SMALLEST = sys.float_info.max, sys.float_info.min
LEAST = {name: 0.0 if name == "E" else SMALLEST for name in CONSTANTS}
REPEATS = ("R_D", "R_N")
AXES = {"params": "N", "tokens": "D", "flops": "C"}


class BadLaw(ValueError):
    """There is no law to plan by; the message says what was wrong with the file or the constants."""


@dataclass(frozen=True)
class SavedLaw:
    """A law with all that is known about its fit.

    `source` says in words where it is from; `resamples` is a Law of arrays [r], or None; `floor_value` is what was
    subtracted from the losses before the fit;
    `size` and `flops` the conventions for N and C; `ranges` the lowest and highest of the fitted params, tokens, flops;
    `standing` whether the runs show the law, None where the file says nothing about it. `loss_unit` is the unit of E,
    A/N^alpha and every loss; `level` the share that the intervals of the fits cover. `repeated` is the law of repeated
    data with its own resamples and scatter, or None with the reason in `why_not_repeated`.
    """

    source: str
    loss: str
    law: Law
    resamples: Law | None = None
    residual_sd_log: float | None = None
    floor_value: float | None = None
    size: str = "params"
    flops: str = "flops_6nd"
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    standing: Judgement | None = None
    from_file: bool = False
    loss_unit: str = NATS
    level: float = LEVEL
    repeated: RepeatedLaw | None = None
    repeated_resamples: RepeatedLaw | None = None
    repeated_sd_log: float | None = None
    why_not_repeated: str = "a law given by its constants has none"


@dataclass(frozen=True)
class Extrapolation:
    """How far a run lies outside the fitted runs: on `axis` (N, D or C) by `factor` above or below the last of them."""

    run: str
    axis: str
    value: float
    bound: float
    factor: float
    above: bool


def read_fits(path: str | Path, loss: str | None = None) -> SavedLaw:
    """The law of one loss of fits.json; by default of the first loss whose law was fitted.

    Raises:
      BadLaw: no such file, not a fits.json, no such loss, or a law that was refused.
    """
    content = _read_json(Path(path))
    entry_name = loss or _first_fitted(path, content["losses"])
    if entry_name not in content["losses"]:
        raise BadLaw(f"{path}: no loss {entry_name!r} here - it has {', '.join(content['losses'])}")
    entry = content["losses"][entry_name]
    try:
        return replace(_fitted(path, entry_name, entry), loss_unit=_loss_unit(path, content))
    except (KeyError, TypeError, AttributeError) as error:
        raise BadLaw(f"{path}: not as fits.json should be at losses.{entry_name} - {error!r}") from error


def _read_json(path: Path) -> dict:
    # Here and not above: it takes a second to load, and a law that is given by its constants needs none of it.
    from vsweep.analysis.report.fits_json import SCHEMA

    if path.is_dir():
        raise BadLaw(f"{path}: a directory - give the fits.json in it (of a sweep: {path / 'analysis' / 'fits.json'})")
    if not path.is_file():
        raise BadLaw(f"{path}: no such file - fits.json is written by `{program.command('analyse')}`")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise BadLaw(f"{path}: not a JSON file - {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("losses"), dict) or "schema" not in content:
        raise BadLaw(f"{path}: not a fits.json - it has no `schema` and `losses`")
    if not _is_number(content["schema"]) or content["schema"] not in range(1, SCHEMA + 1):
        raise BadLaw(f"{path}: schema {content['schema']!r} of fits.json - this program reads 1 to {SCHEMA}")
    return content


def _refusal(entry: object) -> str | None:
    law = entry.get("parametric") if isinstance(entry, dict) else None
    return law.get("refused") if isinstance(law, dict) else None


def _first_fitted(path: str | Path, losses: dict) -> str:
    refusals = {name: _refusal(entry) for name, entry in losses.items()}
    fitted = [name for name, refusal in refusals.items() if refusal is None]
    if not fitted:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in refusals.items())
        raise BadLaw(f"{path}: no parametric law was fitted here - {reasons or 'it holds no loss'}")
    return fitted[0]


def _fitted(path: str | Path, loss: str, entry: dict) -> SavedLaw:
    constants, convention = entry["parametric"], entry["convention"]
    if _refusal(entry) is not None:
        raise BadLaw(f"{path}: the law of {loss} was refused - {constants['refused']}")
    where = f"{path}: losses.{loss}"
    resamples = _resamples(f"{where}.parametric.resamples", constants.get("resamples") or {})
    return SavedLaw(
        source=f"the law of {loss} in {path}",
        loss=loss,
        law=_law(f"{where}.parametric", {name: constants[name] for name in CONSTANTS}),
        resamples=None if resamples is None else Law(**resamples),
        residual_sd_log=_optional(f"{where}.parametric.residual_sd_log", constants.get("residual_sd_log")),
        floor_value=_optional(f"{where}.floor_value", entry.get("floor_value")),
        size=_one_of(f"{where}.convention.N", convention["N"], SIZE_CONVENTIONS),
        flops=_one_of(f"{where}.convention.C", convention["C"], (*FLOP_CONVENTIONS, OWN_FLOPS)),
        ranges=_ranges(f"{where}.range", entry.get("range") or {}),
        standing=_standing(f"{where}.standing", entry.get("standing")),
        from_file=True,
        level=_level(f"{where}.convention.level", convention.get("level", LEVEL)),
        **_repeated(f"{where}.repeated_data", entry.get("repeated_data")),
    )


def _loss_unit(path: str | Path, content: dict) -> str:
    units = content.get("units")
    unit = units.get("loss", NATS) if isinstance(units, dict) else NATS
    return _one_of(f"{path}: units.loss", unit, LOSS_UNITS)


def _level(where: str, value: object) -> float:
    if not (_is_number(value) and 0 < value < 1):
        raise BadLaw(f"{where}: must be a share between 0 and 1 - got {value!r}")
    return float(value)


def _repeated(where: str, entry: dict | None) -> dict[str, object]:
    """The fields of a SavedLaw about repeated data; in their place the reason, where there is no such law."""
    if entry is None:
        return {"why_not_repeated": "its runs name no unique tokens, or repeat none of them often enough"}
    if "refused" in entry:
        return {"why_not_repeated": f"it was refused: {entry['refused']}"}
    columns = entry.get("resamples") or {}
    law = _law(where, {name: entry[name] for name in CONSTANTS})
    resamples = _resamples(f"{where}.resamples", columns, (*CONSTANTS, *REPEATS))
    return {
        "repeated": RepeatedLaw(law, *(_worth(f"{where}.{name}", entry[name]) for name in REPEATS)),
        "repeated_resamples": None
        if resamples is None
        else RepeatedLaw(Law(*(resamples[name] for name in CONSTANTS)), *(resamples[name] for name in REPEATS)),
        "repeated_sd_log": _optional(f"{where}.residual_sd_log", entry.get("residual_sd_log")),
    }


def _worth(where: str, value: object) -> float:
    if not _is_number(value, SMALLEST):
        raise BadLaw(f"{where}: must be a number above 0 - got {value!r}")
    return float(value)


def _standing(where: str, entry: object) -> Judgement | None:
    """The verdict on a law; None in a file that was written before there were verdicts."""
    if entry is None:
        return None
    known = isinstance(entry, dict) and entry.get("verdict") in (DESCRIBES, DOUBTFUL, NOT_SHOWN)
    reasons = entry.get("reasons") if known else None
    if not isinstance(reasons, list) or not all(isinstance(reason, str) for reason in reasons):
        raise BadLaw(f"{where}: must be a verdict and a list of reasons - got {entry!r}")
    return Judgement(entry["verdict"], tuple(reasons))


def refuse_unshown(saved: SavedLaw, what: str = "plan from it") -> None:
    """Refuses to use a law that the runs do not show; `what` says what for.

    Raises:
      BadLaw: with the reasons, and how to do it all the same.
    """
    if saved.standing is not None and saved.standing.verdict == NOT_SHOWN:
        how = f"to {what} all the same, give --anyway (anyway=True in Python)"
        raise BadLaw(f"{saved.source} is not shown by its runs - {saved.standing.why}; {how}")


def _is_number(value: object, least: float = 0.0) -> bool:
    """Whether it is a finite number of at least `least`; true and false are none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return least <= value <= MOST  # NaN is not, and an integer may be larger than any float


def _optional(where: str, value: object) -> float | None:
    if value is not None and not _is_number(value):
        raise BadLaw(f"{where}: must be 0 or more, or null - got {value!r}")
    return None if value is None else float(value)


def _one_of(where: str, value: object, allowed: Sequence[str]) -> str:
    if value not in allowed:
        raise BadLaw(f"{where}: unknown convention - got {value!r}; allowed {', '.join(allowed)}")
    return value


def _ranges(where: str, axes: dict[str, object]) -> dict[str, tuple[float, float]]:
    """[lowest, highest] by axis; axes that are not known here are of no use to a plan."""
    for axis in AXES.keys() & axes.keys():
        ends = axes[axis]
        if not (isinstance(ends, list) and len(ends) == 2 and all(map(_is_number, ends)) and 0 < ends[0] <= ends[1]):
            raise BadLaw(f"{where}.{axis}: must be the lowest and the highest of the fitted runs - got {ends!r}")
    return {axis: (float(axes[axis][0]), float(axes[axis][1])) for axis in AXES if axis in axes}


def _law(where: str, constants: dict[str, object]) -> Law:
    wrong = [f"{name} = {value!r}" for name, value in constants.items() if not _is_number(value, LEAST[name])]
    if wrong:
        raise BadLaw(f"{where}: no law with {', '.join(wrong)} - needs E of 0 or more and A, B, alpha, beta above 0")
    return Law(**{name: float(value) for name, value in constants.items()})


def _resamples(where: str, columns: dict[str, list], names: Sequence[str] = CONSTANTS) -> dict[str, np.ndarray] | None:
    """The constants [r] of the resampled laws by name; None where there are none."""
    if not any(columns.values()):
        return None
    lists = {name: columns.get(name) for name in names}
    good = all(
        isinstance(values, list) and all(_is_number(value, LEAST.get(name, SMALLEST)) for value in values)
        for name, values in lists.items()
    )
    if not good or len({len(values) for values in lists.values()}) > 1:
        raise BadLaw(f"{where}: needs one number a resample for each of {', '.join(names)}, all but E above 0")
    return {name: np.array(values, float) for name, values in lists.items()}


def given_law(text: str) -> SavedLaw:
    """The law of `hoffmann`, or of the five constants "E,A,B,alpha,beta".

    Raises:
      BadLaw: neither of these.
    """
    if text.strip().lower() == "hoffmann":
        return SavedLaw("the law of Hoffmann et al. 2022, equation 10", "loss", HOFFMANN)
    try:
        values = [float(value) for value in text.split(",")]
    except ValueError:
        values = []
    if len(values) != len(CONSTANTS):
        raise BadLaw(f"law {text!r}: give `hoffmann` or five numbers {','.join(CONSTANTS)}")
    return SavedLaw("the law given", "loss", _law(f"law {text!r}", dict(zip(CONSTANTS, values, strict=True))))


def extrapolations(saved: SavedLaw, plan: Plan) -> list[Extrapolation]:
    """Where the runs of `plan` lie outside the fitted ones: the optimum, the smallest alternative, and those asked for.

    C is compared only where it was counted as the plan counts it, as 6ND.
    """
    runs = {"the compute-optimal run": (plan.optimum.params.value, plan.optimum.tokens.value)}
    reachable = [entry for entry in plan.smaller if np.isfinite(entry.tokens.value)]
    if reachable:
        runs[f"{reachable[-1].times:g} x smaller"] = reachable[-1].params, reachable[-1].tokens.value
    if plan.serving:
        runs["the size for serving"] = plan.serving.params.value, plan.serving.tokens.value
    if plan.fixed_tokens:
        runs["the largest N for this D"] = plan.fixed_tokens.largest.params.value, plan.fixed_tokens.tokens
    return outside_of(saved, runs)


def outside_of(saved: SavedLaw, runs: dict[str, tuple[float, float]]) -> list[Extrapolation]:
    """Where `runs`, N and D by name, lie outside the fitted ones: an entry for each axis on which one does."""
    outside = []
    for run, (params, tokens) in runs.items():
        values = {"params": params, "tokens": tokens}
        if saved.flops == "flops_6nd":
            values["flops"] = 6 * params * tokens
        outside += [
            _outside(run, axis, value, *saved.ranges[axis]) for axis, value in values.items() if axis in saved.ranges
        ]
    return [entry for entry in outside if entry.factor > 1]


def _outside(run: str, axis: str, value: float, low: float, high: float) -> Extrapolation:
    above = value / high > low / value
    factor = value / high if above else low / value
    return Extrapolation(run, AXES[axis], float(value), high if above else low, float(factor), above)
