"""Approach 3: the parametric law L(N, D) = E + A/N^alpha + B/D^beta, how well it fits, and what it says is best."""

from collections.abc import Iterator
from dataclasses import asdict, replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable

from vsweep.analysis import plotting
from vsweep.analysis.approaches import envelope, parametric
from vsweep.analysis.approaches.optimal_path import PathFit, thinned
from vsweep.analysis.data.source import Refusal
from vsweep.analysis.fitting.objective import SQUARED
from vsweep.analysis.formatting import count, metric, percent, signed_percent, times
from vsweep.analysis.plotting import SIZE_LABELS, TOKENS_LABEL, Drawing
from vsweep.analysis.sections.base import Finding, LossStudy, Section, Table
from vsweep.analysis.uncertainty import verdicts
from vsweep.analysis.uncertainty.approach import (
    Approach,
    assess,
    assessed,
    best_range,
    describe_range,
    fit,
    quantity,
)
from vsweep.analysis.uncertainty.estimates import largest_flops, optimal_sizes
from vsweep.analysis.uncertainty.intervals import SEED_FITS, Range, Uncertainty, resamples_needed
from vsweep.analysis.uncertainty.verdicts import NOISE_FACTOR, Judgement

MOST_RESAMPLES = 400  # in fits.json, if the level of the intervals needs no more
NAMED = 4  # so many outliers are named in a sentence
TRAINED_TO = 0.01  # a value within 1 % of the last one trained is no extrapolation
OPTIMUM = {"N_opt": "N", "D_opt": "D", "tokens_per_param": "tokens per parameter", "loss_opt": "loss"}
LABELS = {
    "N_opt": "N_opt (parameters)",
    "D_opt": "D_opt (tokens)",
    "tokens_per_param": "D_opt / N_opt",
    "loss_opt": "loss at the optimum",
}


class Parametric(Section[Approach]):
    """The parametric law: its fit, its residuals and its optimum."""

    name, title = "law", "The parametric law"

    def compute(self, study: LossStudy) -> Approach:
        fitted = fit(study.points, parametric.METHOD)
        assessed_law = assess(study.points, parametric.METHOD, fitted, bootstrap=study.bootstrap)
        return _with_possible_floors(assessed_law, study)

    def findings(self, study: LossStudy, result: Approach) -> list[Finding]:
        if result.refused:
            return []
        notes = [entry.note for entry in result.uncertainty if entry.note]
        return [
            *self.about(study, 30, [*_about_fit(study, result.result), _about_optimum(study, result), *notes]),
            *self.about(study, 90, _about_seed_share(result)),
        ]

    def figures(self, study: LossStudy, result: Approach) -> Iterator[Drawing | Refusal]:
        yield loss_surface(study)

    def tables(self, study: LossStudy, result: Approach) -> list[Table]:
        return [] if result.refused else [_constants(study, result)]

    def refusals(self, study: LossStudy, result: Approach) -> list[Refusal]:
        return result.refusals

    def to_json(self, study: LossStudy, result: Approach) -> dict:
        return {result.method: approach_json(study, result), "standing": asdict(standing(study))}


SECTION = Parametric()


def _with_possible_floors(approach: Approach, study: LossStudy) -> Approach:
    """The same with intervals of E that end at the lowest loss of a cell: no floor lies above a loss that was reached.

    Intervals are stretched for what seeds share, and stretching knows nothing of the losses. The spread over fits to
    single seeds stays as it is, because these fits were made.
    """
    if approach.refused:
        return approach
    most = max(float(study.cells["loss"].min()), approach.quantities.get("E", 0.0))
    uncertainty = []
    for entry in approach.uncertainty:
        floor = entry.ranges.get("E")
        if floor is not None and floor.high > most and entry.kind != SEED_FITS:
            entry = replace(entry, ranges={**entry.ranges, "E": Range(min(floor.low, most), most)})
        uncertainty.append(entry)
    return replace(approach, uncertainty=tuple(uncertainty))


def law_of(study: LossStudy) -> parametric.Law | None:
    """The fitted law, None where it was refused."""
    approach = study.result(SECTION)
    return None if approach.refused else approach.result.law


def standing(study: LossStudy) -> Judgement:
    """Whether these runs show the parametric law, and why not."""
    return verdicts.of_law(study.points, study.result(SECTION), study.noise_log)


# Sentences


def _about_fit(study: LossStudy, result: parametric.ParametricFit) -> list[str]:
    law = result.law
    floor = f"{law.E:.4g} + " if law.E else ""
    terms = f"{floor}{law.A:.4g}/N^{law.alpha:.3f} + {law.B:.4g}/D^{law.beta:.3f}"
    without = f", without {count(len(result.outliers), 'outlier')}," if result.scored_without else ""
    sentences = [
        f"the parametric law is L = {terms}. Over {result.scored} points{without} R^2 is {result.r2_log:.4f} in log "
        f"loss, and the root-mean-square residual is {percent(result.rms_log)}."
    ]
    if study.noise_log:
        ratio = result.rms_log / study.noise_log
        near = ratio <= NOISE_FACTOR
        verdict = "the law fits these runs to about the noise" if near else "the law does not fit these runs"
        noise = percent(study.noise_log)
        sentences.append(
            f"that residual is {ratio:.1f} times the scatter between seeds in a typical cell ({noise}): {verdict}."
        )
    return sentences + _about_outliers(study, result) + _about_floor(study, result)


def _about_outliers(study: LossStudy, result: parametric.ParametricFit) -> list[str]:
    """Which points lie far off the law, and by how much."""
    if not result.outliers:
        return []
    named = [
        f"{entry['run_id']} (N = {metric(entry['N'])}, D = {metric(entry['D'])}: {entry['loss']:.4g} instead of "
        f"{entry['law']:.4g})"
        for entry in outliers_json(study, result)
    ]
    more = [f"and {len(named) - NAMED} more"] if len(named) > NAMED else []
    counted = count(len(named), "outlier")
    effect = "The fit hardly moves, because its penalty is robust"
    if result.objective.penalty == SQUARED:
        effect = "They pull the fit, because its penalty is not robust"
    return [
        f"{counted} of {result.points} points, more than {parametric.OUTLIER_SD:g} robust standard deviations off the "
        f"law: {', '.join([*named[:NAMED], *more])}. {effect}."
    ]


def outliers_json(study: LossStudy, result: parametric.ParametricFit) -> list[dict]:
    """Each outlier as fits.json holds it; `residual_log` is log(loss / law)."""
    table = study.points.table
    entries = []
    for outlier in result.outliers:
        row = table.iloc[outlier.row]
        own = {"run_id": row["run_id"], "N": row["params"], "D": row["tokens"], "loss": row["loss"]}
        law = float(result.law.loss(row["params"], row["tokens"]))
        entries.append({**own, "law": law, "residual_log": outlier.residual_log})
    return entries


def _about_floor(study: LossStudy, result: parametric.ParametricFit) -> list[str]:
    """How a fitted floor compares with nothing, and with the exact one of the task."""
    if not result.floor_free:
        return []
    fitted = result.law.E
    if 0.01 * study.cells["loss"].min() > fitted:
        return ["the fitted floor E went to zero: these points do not show where the loss levels off."]
    if "floor" in study.points.table and study.points.column("floor").std() < 1e-9:
        exact = study.points.column("floor").mean()
        apart = signed_percent(fitted / exact - 1)
        return [f"the fitted floor E is {fitted:.4f}, the exact one is {exact:.4f} ({apart})."]
    return []


def _about_optimum(study: LossStudy, approach: Approach) -> str:
    """The best run with the largest compute of the data, by the law."""
    flops = f"{largest_flops(study.points):.3g}"
    parts = [
        f"{text} = {quantity(name, approach.quantities[name])}{best_range(approach, name)}"
        f"{extrapolated(study, name, approach.quantities[name])}"
        for name, text in OPTIMUM.items()
    ]
    return f"at C = {flops} FLOP, the largest compute here, the law predicts the optimum {', '.join(parts)}."


def extrapolated(study: LossStudy, name: str, value: float) -> str:
    """A mark for N or D of the optimum beyond what was trained."""
    column = {"N_opt": "params", "D_opt": "tokens"}.get(name)
    if column is None:
        return ""
    low, high = study.points.column(column).min(), study.points.column(column).max()
    if value > high * (1 + TRAINED_TO):
        return f" [extrapolated, {times(value / high)} x above the largest trained]"
    if value < low * (1 - TRAINED_TO):
        return f" [extrapolated, {times(low / value)} x below the smallest trained]"
    return ""


def _about_seed_share(approach: Approach) -> list[str]:
    """Which part of the spread of the law's exponent is seeds, and which the choice of the grid."""
    shares = [entry.seed_share["a"] for entry in approach.uncertainty if entry.seed_share]
    if not shares:
        return []
    narrower = f"about {100 * (1 - np.sqrt(1 - shares[0])):.0f} % narrower"
    return [
        f"{100 * shares[0]:.0f} % of the variance of a in the parametric law is due to seeds. Ever more seeds would "
        f"make its interval {narrower} at most. The rest is due to the grid and to what the law does not describe."
    ]


# Table


def _constants(study: LossStudy, approach: Approach) -> Table:
    """Constants and the optimum at the largest compute, with their intervals."""
    shares = next((entry.seed_share for entry in approach.uncertainty if entry.seed_share), {})
    rows = tuple(
        (
            LABELS.get(name, name),
            *value_and_ranges(approach, name),
            f"{100 * shares[name]:.0f} %" if name in shares else "",
        )
        for name in approach.quantities
    )
    note = (
        f"Optima are for C = {largest_flops(study.points):.3g} FLOP, the largest compute of these runs. Objective "
        f"of the fit: {study.convention.objective.describe()}."
    )
    return Table("Constants and optimum", ("quantity", "value", "range", "share due to seeds"), rows, note)


def value_and_ranges(approach: Approach, name: str) -> tuple[str, tuple[str, ...]]:
    """Two cells: the value of a quantity, and all that is known about its range, a line each."""
    ranges = tuple(describe_range(entry, name) for entry in assessed(approach, name))
    return quantity(name, approach.quantities[name]), ranges or ("not assessed",)


# Figure


def loss_surface(study: LossStudy) -> Drawing | Refusal:
    """L(N, D) of the parametric law as contours with the points in the same colours, and the compute-optimal path."""
    table, law = study.cells, law_of(study)
    if study.empty:
        return Refusal("loss_surface", "no points")
    if table["size"].nunique() < 2 or table["tokens"].nunique() < 2:
        return Refusal("loss_surface", "needs two sizes and two budgets")
    figure, (axes,) = plotting.new_figure()
    colour = plotting.colours(table["loss"])
    limits = [(table[name].min() / 1.25, table[name].max() * 1.25) for name in ("size", "tokens")]
    if law:
        _surface(axes, study, law, colour, limits)
    dense = len(table) > plotting.MANY_MARKS
    style = {"s": 34, "lw": 0.7, "edgecolor": "white", "zorder": 3}
    if dense:  # between the surface and its lines
        style = {"s": 3, "lw": 0, "rasterized": True, "zorder": 1.5}
    axes.scatter(table["size"], table["tokens"], c=colour.to_rgba(table["loss"]), **style)
    axes.set_xlim(*limits[0])
    axes.set_ylim(*limits[1])
    plotting.log_axis(axes, "x", SIZE_LABELS[study.convention.size], units=True)
    plotting.log_axis(axes, "y", TOKENS_LABEL, units=True)
    plotting.colour_bar(
        figure, axes, colour, table["loss"], plotting.loss_label(study.loss, study.source.loss_unit), units=False
    )
    shown = table[["size", "tokens", "flops", "loss"]]
    if law:
        plotting.legend_above(figure, 1)
        shown = shown.assign(law=law.loss(table["params"], table["tokens"]))
    surface = "The surface is the parametric law." if law else "No parametric law could be fitted."
    caption = (
        f"{surface} Dots are the finished runs (mean over seeds) in the same colours. A dot that stands out from the "
        "surface is a run that the law misses."
    )
    return Drawing("loss_surface", "L(N, D)", caption, figure, shown)


def _surface(axes: Axes, study: LossStudy, law: parametric.Law, colour: ScalarMappable, limits: list) -> None:
    params, tokens = (np.geomspace(*limit, 90) for limit in limits)
    loss = law.loss(params[None, :], tokens[:, None])
    levels = np.geomspace(loss.min(), loss.max(), 25)
    axes.contourf(params, tokens, loss, levels=levels, cmap=colour.cmap, norm=colour.norm)
    axes.contour(params, tokens, loss, levels=levels[::3], colors="white", linewidths=0.5)
    flops = np.geomspace(study.points.column("flops").min(), study.points.column("flops").max(), 100)
    best = optimal_sizes(law, study.points, flops)
    axes.plot(*best, color=plotting.BLACK, lw=1.6, ls="--", label="compute-optimal path of the law")


# fits.json


def approach_json(study: LossStudy, approach: Approach) -> dict:
    """One approach, this one or another, as fits.json holds it."""
    if approach.refused:
        return {"refused": approach.result.reason}
    own = _path(approach, approach.result) if isinstance(approach.result, PathFit) else _law(study, approach)
    return {
        **own,
        "a": approach.a,
        "b": approach.b,
        "at": {"flops": largest_flops(study.points), **{name: approach.quantities[name] for name in OPTIMUM}},
        "ranges": {name: found for name in approach.quantities if (found := ranges_json(approach.uncertainty, name))},
    }


def ranges_json(uncertainty: tuple[Uncertainty, ...], name: str) -> list[dict]:
    """All that is known about the range of one quantity."""
    return [
        {"kind": u.kind, "form": u.form, "fits": u.fits, "failed": u.failed, **asdict(u.ranges[name])}
        for u in uncertainty
        if name in u.ranges
    ]


def _law(study: LossStudy, approach: Approach) -> dict:
    found = approach.result
    scores = {name: getattr(found, name) for name in ("value", "r2_log", "rms_log", "residual_sd_log", "points")}
    shares = [entry.seed_share for entry in approach.uncertainty if entry.seed_share]
    return {
        **asdict(found.law),
        "G": found.law.G,
        **scores,
        **({"outliers": outliers_json(study, found)} if found.outliers else {}),
        "seed_share": shares[0] if shares else {},
        "resamples": _resamples(approach.resamples, study.convention.level),
    }


def _resamples(law: parametric.Law | None, level: float) -> dict[str, np.ndarray]:
    if law is None:
        return {}
    count, most = len(law.alpha), max(MOST_RESAMPLES, resamples_needed(level))
    return {name: np.broadcast_to(values, count)[:most] for name, values in vars(law).items()}


def _path(approach: Approach, found: PathFit) -> dict:
    # An envelope has 1,500 values; a selection of the counted ones says as much.
    of_envelope = approach.method == envelope.METHOD
    optima = thinned(found.used) if of_envelope else found.optima
    return {
        **{name: getattr(found, name) for name in ("k", "k_tokens", "k_loss", "c", "note")},
        "statuses": found.optima["status"].value_counts().to_dict(),
        "edges": [] if of_envelope else list(found.edges),
        "optima": optima.to_dict("records"),
    }
