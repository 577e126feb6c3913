"""The law of repeated data (Muennighoff et al. 2023): what a token is worth that a run has seen before."""

from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes

from vsweep.analysis import plotting
from vsweep.analysis.data.source import Refusal
from vsweep.analysis.fitting.alternative_laws import DataConstrained
from vsweep.analysis.formatting import percent
from vsweep.analysis.plotting import SIZE_LABELS, Drawing
from vsweep.analysis.sections.base import Finding, LossStudy, Section, Table, or_refused
from vsweep.analysis.sections.law import ranges_json
from vsweep.analysis.uncertainty import repeated_data
from vsweep.analysis.uncertainty.approach import describe_range, numbers
from vsweep.analysis.uncertainty.repeated_data import RepeatedData

MOST_SIDE_BY_SIDE = 6  # sizes


class Repeated(Section[RepeatedData | None]):
    """What a repeated token is worth, where the table names unique tokens and repeats them; None where it does not."""

    name, title = "repeated_data", "Repeated data"

    def compute(self, study: LossStudy) -> RepeatedData | Refusal | None:
        points = repeated_data.of_all_repeats(study.source, study.convention) or study.points
        return repeated_data.fit(points, study.bootstrap)

    def findings(self, study: LossStudy, result: RepeatedData | Refusal | None) -> list[Finding]:
        if result is None or isinstance(result, Refusal):
            return []
        return self.about(study, 40, [*_about_repeats(result), *_about_worth(result)])

    def figures(self, study: LossStudy, result: RepeatedData | Refusal | None) -> Iterator[Drawing | Refusal]:
        if isinstance(result, RepeatedData):
            yield cost_of_repeats(study, result)

    def tables(self, study: LossStudy, result: RepeatedData | Refusal | None) -> list[Table]:
        if result is None or isinstance(result, Refusal):
            return []
        rows = tuple((name, f"{value:.4g}", _repeated_range(result, name)) for name, value in result.values.items())
        rows += (_worth_row(result),)
        note = f"{DataConstrained().formula}. Source: {DataConstrained().source}."
        return [Table("Constants of the law of repeated data", ("quantity", "value", "range"), rows, note)]

    def to_json(self, study: LossStudy, result: RepeatedData | Refusal | None) -> dict:
        return {} if result is None else {self.name: or_refused(result, _repeated_json)}


SECTION = Repeated()


def cost_of_repeats(study: LossStudy, result: RepeatedData) -> Drawing:
    """How far the loss of each run lies above what the law gives to the same N and D of new tokens, against epochs."""
    params, tokens, unique, loss = (result.runs[name].to_numpy(float) for name in result.runs)
    of_new = result.law.loss(params, tokens, tokens)
    epochs, above, by_law = tokens / unique, loss / of_new, result.law.loss(params, tokens, unique) / of_new
    figure, (axes,) = plotting.new_figure()
    colour = plotting.colours(params)
    side_by_side = epochs * _dodge(params)
    axes.vlines(side_by_side, by_law, above, color=plotting.BLACK, lw=0.5, alpha=0.5)
    axes.scatter(side_by_side, by_law, marker="_", s=40, color=colour.to_rgba(params))
    axes.scatter(side_by_side, above, s=16, color=colour.to_rgba(params))
    _mark_worth(axes, result)
    if result.is_worth_known:
        plotting.legend_above(figure, 1)  # one inside would give way to that of the sizes
    plotting.log_axis(axes, "x", "epochs, D / unique tokens", units=True)
    axes.set_ylabel("loss / loss of the law on new tokens")
    size = study.convention.size
    plotting.colour_bar(figure, axes, colour, params, SIZE_LABELS[size])
    caption = (
        "Each dot is a run, and the mark at the end of its stem is the law of repeated data. At 1 all tokens are as "
        "good as new ones. Sizes that saw the same number of epochs are drawn side by side."
    )
    numbers = result.runs.assign(epochs=epochs, loss_of_new_tokens=of_new, by_law=by_law * of_new)
    return Drawing(f"repeats_{study.loss}", "What repeating costs", caption, figure, numbers)


def _dodge(params: np.ndarray) -> np.ndarray:
    """Factors near 1 that set the dots of few sizes side by side; 1 where there are many."""
    sizes, rank = np.unique(params, return_inverse=True)
    return 1.05 ** (rank - (len(sizes) - 1) / 2) if len(sizes) <= MOST_SIDE_BY_SIDE else np.ones(len(params))


def _mark_worth(axes: Axes, result: RepeatedData) -> None:
    """The epochs up to which a repeated token is nearly as good as a new one, with their interval, where known."""
    if not result.is_worth_known:
        return
    epochs, bounds = repeated_data.epochs_at_worth(result.values["R_D"]), result.worth_range
    axes.axvspan(bounds.low, min(bounds.high, result.most_epochs), color=plotting.BLUE, alpha=0.12, lw=0)
    label = f"{repeated_data.WORTH:g} of a new token, up to {epochs:.2g} epochs"
    axes.axvline(epochs, color=plotting.BLUE, lw=1, label=label)


def _about_repeats(result: RepeatedData) -> list[str]:
    """What a repeated token and a parameter too many are worth."""
    r_d, r_n = (_repetitions(result, name) for name in ("R_D", "R_N"))
    return [
        f"the law of repeated data has R_D* = {r_d} and R_N* = {r_n}, with a root-mean-square residual of "
        f"{percent(result.rms_log)}. After R_D* repetitions a repeated token is worth 1/e of a new one."
    ]


def _repetitions(result: RepeatedData, name: str) -> str:
    if result.values[name] > repeated_data.UNBOUNDED:
        return f"more than {repeated_data.UNBOUNDED:g} (these runs do not show an end)"
    known = result.uncertainty
    bounds = f" ({numbers(known, name)}, {known.form})" if known and name in known.ranges else ""
    return f"{result.values[name]:.3g}{bounds}"


def _repeated_range(result: RepeatedData, name: str) -> str:
    known = result.uncertainty
    return describe_range(known, name) if known and name in known.ranges else ""


def _repeated_json(result: RepeatedData) -> dict:
    known = (result.uncertainty,) if result.uncertainty else ()
    ranges = {name: entries for name in result.values if (entries := ranges_json(known, name))}
    scores = {name: getattr(result, name) for name in ("rms_log", "residual_sd_log", "points")}
    return {**result.values, **scores, "worth": _worth_json(result), "ranges": ranges, "resamples": result.resamples}


def _about_worth(result: RepeatedData) -> list[str]:
    """Up to how many epochs repeating helps nearly as much as new data: the rule of four epochs."""
    bounds, known = result.worth_range, result.uncertainty
    if known is None:
        return []
    of = f"a repeated token is worth {repeated_data.WORTH:g} of a new one on average"
    if not result.is_worth_known:
        least = f"; it is so up to {min(bounds.low, result.most_epochs):.2g} epochs at least" if bounds else ""
        saw = f"They saw {result.most_epochs:.3g} epochs at most."
        return [f"these runs do not show up to how many epochs {of}{least} ({known.form}). {saw}"]
    epochs = repeated_data.epochs_at_worth(result.values["R_D"])
    end = f"{bounds.high:.2g}" if bounds.high <= result.most_epochs else f"more than {result.most_epochs:.3g}"
    return [
        f"up to {epochs:.2g} epochs ({bounds.low:.2g} to {end}, {known.form}) {of}. Muennighoff et al. 2023 found 4.3. "
        f"However often they are seen, U unique tokens are worth {1 + result.values['R_D']:.3g} U new ones at most."
    ]


def _worth_row(result: RepeatedData) -> tuple[str, str, str]:
    name, known = f"epochs at an average worth of {repeated_data.WORTH:g}", _worth_json(result)
    if known["epochs"] is None:
        return name, "not determined", "" if known["low"] is None else f"{known['low']:.3g} or more"
    end = "or more" if known["high"] is None else f"to {known['high']:.3g}"
    return name, f"{known['epochs']:.3g}", f"{known['low']:.3g} {end}"


def _worth_json(result: RepeatedData) -> dict:
    """Null for epochs beyond those that the runs saw; `low` is then as far as these show it."""
    bounds, most = result.worth_range, result.most_epochs
    epochs = repeated_data.epochs_at_worth(result.values["R_D"]) if result.is_worth_known else None
    low = min(bounds.low, most) if bounds else None
    high = bounds.high if bounds and bounds.high <= most else None
    return {"share": repeated_data.WORTH, "epochs": epochs, "low": low, "high": high, "most_epochs": most}
