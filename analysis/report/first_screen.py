"""What the page begins with: one plain sentence, the numbers that matter, and whether the runs bear the law out.

Everything here is taken from what the sections found. Nothing is judged anew, so no verdict is better than theirs.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from vsweep.analysis.approaches.bowls import Bowls
from vsweep.analysis.approaches.kaplan_curves import KaplanCurves
from vsweep.analysis.data.cells import MANY_SEEDS
from vsweep.analysis.data.source import Refusal
from vsweep.analysis.formatting import count, metric, percent
from vsweep.analysis.sections import law, lines, optimum, runs
from vsweep.analysis.sections.base import LossStudy
from vsweep.analysis.sections.checks import forecast
from vsweep.analysis.sections.checks.forecast import Forecast
from vsweep.analysis.sections.further_laws import hyperparameters, kaplan, one_variable, repeated
from vsweep.analysis.sections.further_laws.hyperparameters import Setting
from vsweep.analysis.uncertainty import repeated_data, verdicts
from vsweep.analysis.uncertainty.approach import Approach, assessed, quantity
from vsweep.analysis.uncertainty.hyperparameter_law import MOVES, VARIABLES, HyperparameterLaw
from vsweep.analysis.uncertainty.intervals import Uncertainty
from vsweep.analysis.uncertainty.one_variable import OneVariable
from vsweep.analysis.uncertainty.repeated_data import REPEATS, RepeatedData

MOST_WORDS = 24  # of the headline
DESCRIBES, BREAKS, CANNOT_TELL = "describes", "breaks", "cannot tell"
GROWTH = 10.0  # the headline says what so many times the compute ask for


@dataclass(frozen=True)
class Number:
    """One of the numbers that matter: `value` as a number and as text, and its range where one is known."""

    label: str
    value: float
    text: str
    range: str = ""
    low: float | None = None
    high: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Trust:
    """Whether the law describes these runs, breaks on them, or whether they cannot tell; with the reasons."""

    verdict: str
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class FirstScreen:
    """The beginning of the page. `section` is the one that comes first, and whose figure is shown."""

    section: str
    headline: str
    trust: Trust
    numbers: tuple[Number, ...]


def first_screen(studies: Sequence[LossStudy]) -> FirstScreen:
    """What the first loss of a source says at a glance."""
    study = studies[0]
    if study.source.variable:
        return _of_one_variable(study)
    if study.empty:
        return _of_nothing(study)
    setting = leading_setting(study)
    if setting is not None:
        return _of_setting(study, setting)
    if is_about_repeats(study):
        return _of_repeats(study)
    if is_about_seeds(study):
        return _of_seeds(study)
    return _of_curves(study) if is_about_curves(study) else _of_law(study)


def to_json(screen: FirstScreen) -> dict:
    """The same in fits.json, under one key."""
    numbers = [{name: getattr(one, name) for name in ("label", "value", "low", "high")} for one in screen.numbers]
    trust = asdict(screen.trust) | {"reasons": list(screen.trust.reasons)}
    return {"first_screen": {"headline": screen.headline, "trust": trust, "numbers": numbers}}


# What kind of study it is


def is_about_seeds(study: LossStudy) -> bool:
    """Whether the study repeats few cells often, so that its question is how far seeds scatter."""
    seeds = study.cells["seeds"]
    return bool(seeds.median() >= MANY_SEEDS and seeds.median() > len(seeds))


def leading_setting(study: LossStudy) -> Setting | None:
    """The setting that a study is about: the one with bowls in most cells, if it has at least three values there."""
    found = study.result(hyperparameters.SECTION)
    wide = [one for one in found if isinstance(one.bowls, Bowls) and one.bowls.minima["values"].median() >= 3]
    enough = [one for one in wide if 2 * one.bowls.minima.groupby(["size", "budget"]).ngroups >= len(study.cells)]
    return max(enough, key=lambda one: len(one.bowls.interior), default=None)


def is_about_repeats(study: LossStudy) -> bool:
    """Whether a sweep varies how many of its examples are different, and a law of repeated data was fitted."""
    runs = study.source.runs
    varies = study.source.is_workdir and REPEATS in runs and runs[REPEATS].nunique() > 1
    return bool(varies and isinstance(study.result(repeated.SECTION), RepeatedData))


def is_about_curves(study: LossStudy) -> bool:
    """Whether a study of text trains all sizes on one budget, as Kaplan et al. did: its law is that of the curves."""
    return study.cells["tokens"].nunique() == 1 and isinstance(study.result(kaplan.SECTION), KaplanCurves)


# Each kind


def _of_nothing(study: LossStudy) -> FirstScreen:
    total, finished = len(study.source.runs), study.source.count("finished")
    numbers = (_plain("runs", total), _plain("finished", finished))
    text = f"{finished} of {count(total, 'run')} finished, and none has a loss that can be fitted: there is no law yet."
    return FirstScreen(optimum.SECTION.name, text, Trust(CANNOT_TELL, ("no run could be used",)), numbers)


def _of_law(study: LossStudy) -> FirstScreen:
    trust = _trust(study)
    return FirstScreen(optimum.SECTION.name, _about_law(study, trust), trust, _numbers_of_law(study))


def _trust(study: LossStudy) -> Trust:
    """From the verdict on the law, that on its forecast, and the lines of loss against N and D."""
    standing, predicted = law.standing(study), study.result(forecast.SECTION)
    judged = [line for line in study.result(lines.SECTION).lines if line.holds is not None and not line.flat]
    broken = sum(not line.holds for line in judged)
    missed = predicted.judgement is not None and predicted.judgement.verdict == verdicts.FAILED
    reasons = list(standing.reasons)
    if predicted.judgement is not None and predicted.judgement.reasons:
        says = "failed" if missed else "cannot be judged"
        reasons.append(f"the forecast {says}: {predicted.judgement.why}")
    if broken:
        reasons.append(f"no power law holds on {broken} of {len(judged)} lines of loss against N or D")
    if missed or (broken and standing.verdict != verdicts.DESCRIBES):
        return Trust(BREAKS, tuple(reasons))
    return Trust(DESCRIBES if standing.verdict == verdicts.DESCRIBES else CANNOT_TELL, tuple(reasons))


def _about_law(study: LossStudy, trust: Trust) -> str:
    used, predicted = count(len(study.points.table), "run"), study.result(forecast.SECTION).forecast
    if trust.verdict == DESCRIBES:
        texts = [
            f"One law describes these {used}: with ten times the compute, the best model is {_growth(study)} larger."
        ]
    elif trust.verdict == BREAKS and isinstance(predicted, Forecast):
        texts = [
            f"No single power law describes these {used}: a forecast of {predicted.held_out} misses by "
            f"{percent(predicted.rms_log)}."
        ]
    elif trust.verdict == BREAKS:
        texts = [f"No single power law describes these {used}."]
    else:
        because = f": {trust.reasons[0].removeprefix('no law was fitted: ')}" if trust.reasons else ""
        texts = [f"These {used} cannot tell whether a scaling law holds{because}."]
    return _short(*texts, f"These {used} cannot tell whether a scaling law holds. The reasons are below.")


def _growth(study: LossStudy) -> str:
    """Such as `3.3 x (2.9 to 3.6)`: what ten times the compute do to N_opt, by the parametric law."""
    found = study.result(law.SECTION)
    known = assessed(found, "a")
    ends = (known[-1].ranges["a"].low, known[-1].ranges["a"].high) if known else ()
    span = " to ".join(f"{GROWTH**end:.2g}" for end in ends)
    return f"{GROWTH**found.a:.2g} x" + (f" ({span})" if span else "")


def _numbers_of_law(study: LossStudy) -> tuple[Number, ...]:
    fitted = optimum.fitted_approaches(study)
    parametric = study.result(law.SECTION)
    found = parametric if not parametric.refused else fitted[0] if fitted else None
    numbers = []
    if found is not None:
        at = f"at {law.largest_flops(study.points):.3g} FLOP, the largest here"
        numbers = [
            _known(found, "a", "exponent a of the best size, N ~ C^a", f"by {found.name}"),
            _known(found, "tokens_per_param", "tokens per parameter at the optimum", at),
            _known(found, "loss_opt", "loss at the optimum", at),
        ]
    predicted = study.result(forecast.SECTION)
    if isinstance(predicted.forecast, Forecast):
        numbers.append(_of_forecast(predicted))
    return tuple([*numbers, *_of_design(study)][:4])


def _of_forecast(predicted: forecast.Forecasts) -> Number:
    made = predicted.forecast
    limit = percent(verdicts.limit_log(made.noise_log))
    note = f"{predicted.judgement.verdict}; up to {limit} would be about the noise"
    return Number(f"error of the forecast of {made.held_out}", made.rms_log, percent(made.rms_log), note=note)


def _of_design(study: LossStudy) -> list[Number]:
    """What is always known, where no law gives a number."""
    noise = [] if study.noise_log is None else [_scatter(study)]
    variable = study.source.variable
    of_cells = f"distinct values of {variable}" if variable else "cells of N and D"
    return [*noise, _plain("runs used", len(study.points.table)), _plain(of_cells, len(study.cells))]


def _scatter(study: LossStudy) -> Number:
    return Number("scatter between seeds", study.noise_log, percent(study.noise_log), note="in a typical cell")


def _of_seeds(study: LossStudy) -> FirstScreen:
    cell = study.cells.loc[study.cells["ratio"].idxmax()]
    seeds, ratio = int(cell["seeds"]), float(cell["ratio"])
    text = f"Trained with {seeds} seeds, the same model ends at losses from {cell['low']:.3g} to {cell['high']:.3g}."
    where = f"N = {metric(cell['size'])}, D = {metric(cell['tokens'])}"
    numbers = (
        Number("worst over best seed, at most", ratio, f"{ratio:.2f} x", note=f"at {where}"),
        Number("mean loss there", float(cell["loss"]), f"{cell['loss']:.4g}", _span(cell), cell["low"], cell["high"]),
        *([] if study.noise_log is None else [_scatter(study)]),
        _plain("seeds of each cell", seeds),
    )
    many = f"{count(len(study.cells), 'cell')} of N and D only: this study measures seeds, and shows no law"
    trust = _trust(study)
    return FirstScreen(runs.SECTION.name, text, Trust(trust.verdict, (many, *trust.reasons)), numbers)


def _span(cell) -> str:
    return f"{cell['low']:.4g} to {cell['high']:.4g}, all seeds"


def _of_setting(study: LossStudy, setting: Setting) -> FirstScreen:
    found, fitted = setting.bowls, setting.law
    inside, asked = len(found.interior), len(found.minima)
    share = Number(f"bowls with a best {setting.name} inside", inside, f"{inside} of {asked}")
    if isinstance(fitted, Refusal):
        text = f"The best {setting.name} lies between the values tried in {inside} of {asked} cells; no law follows."
        trust, numbers = Trust(CANNOT_TELL, (fitted.reason,)), (share,)
    else:
        moving = [name for name, verdict in fitted.verdicts.items() if verdict == MOVES]
        rest = [f"{name}: {verdict}" for name, verdict in fitted.verdicts.items() if verdict != MOVES]
        moves = f"moves with {' and '.join(moving)}" if moving else "is not shown to move"
        text = f"The best {setting.name} {moves}: about {fitted.formula}."
        trust = Trust(DESCRIBES if moving and not rest else CANNOT_TELL, tuple(rest))
        numbers = (*_exponents(fitted), share)
    numbers = (*numbers, *_of_design(study))[:4]
    return FirstScreen(hyperparameters.SECTION.name, _short(text, _shorter(setting)), trust, numbers)


def _shorter(setting: Setting) -> str:
    return f"The best {setting.name[:40]} of each cell is below."


def _exponents(fitted: HyperparameterLaw) -> list[Number]:
    known = fitted.uncertainty
    return [
        _ranged(f"exponent of {name}", fitted.exponents[x], f"{fitted.exponents[x]:.3f}", known, x)
        for name, (_, x) in VARIABLES.items()
        if x in fitted.exponents
    ]


def _of_repeats(study: LossStudy) -> FirstScreen:
    found = study.result(repeated.SECTION)
    known, r_d, most = found.uncertainty, found.values["R_D"], found.most_epochs
    of = f"worth {repeated_data.WORTH:g} of a new one, on average"
    numbers = [
        _ranged("R_D*, repetitions until a token is worth 1/e", r_d, f"{r_d:.3g}", known, "R_D"),
        Number("most epochs of a run", most, f"{most:.3g}"),
        Number("residual of the law", found.rms_log, percent(found.rms_log)),
    ]
    if found.is_worth_known:
        epochs, bounds = repeated_data.epochs_at_worth(r_d), found.worth_range
        text = f"Up to {epochs:.2g} epochs, a repeated token is {of}."
        span = f"{bounds.low:.2g} to {min(bounds.high, most):.2g}, {known.form}"
        label = f"epochs at a worth of {repeated_data.WORTH:g}"
        numbers.insert(0, Number(label, epochs, f"{epochs:.2g}", span, bounds.low, bounds.high))
    else:
        text = f"These {len(found.runs)} runs do not show up to how many epochs a repeated token is {of}."
    reason = "the law of repeated data is not tested on runs that it has not seen"
    return FirstScreen(repeated.SECTION.name, text, Trust(CANNOT_TELL, (reason,)), tuple(numbers))


def _of_curves(study: LossStudy) -> FirstScreen:
    found = study.result(kaplan.SECTION)
    curves = count(found.curves["run_id"].nunique(), "curve")
    text = f"Without embeddings, the lowest loss of these {curves} falls as compute to the power {-found.line.a:.3f}."
    reason = "one amount of data for every size: the line through the curves is not tested on other runs"
    lowest = float(study.points.table["loss"].min())
    span = "" if found.low is None else f"{found.low:.4f} to {found.high:.4f}, resamples of whole curves"
    numbers = (
        Number("slope of loss against compute", -found.line.a, f"{-found.line.a:.4f}", span, found.low, found.high),
        Number(
            "slope through the two corners",
            -found.corners.a,
            f"{-found.corners.a:.4f}",
            note="has the noise of two points",
        ),
        Number("curves with a kink", len(found.shown_kinks), f"{len(found.shown_kinks)} of {len(found.kinks)}"),
        Number("lowest loss", lowest, f"{lowest:.4g}", note="nats/token"),
    )
    return FirstScreen(kaplan.SECTION.name, text, Trust(CANNOT_TELL, (reason,)), numbers)


def _of_one_variable(study: LossStudy) -> FirstScreen:
    name, found = one_variable.SECTION.name, study.result(one_variable.SECTION)
    standing = one_variable.standing(found)
    if isinstance(found, Refusal):
        text = f"No law of the loss against {study.source.variable} could be fitted. The reason is below."
        return FirstScreen(name, text, Trust(CANNOT_TELL, standing.reasons), tuple(_of_design(study)))
    made = found.forecast
    missed = not isinstance(made, Refusal) and made.verdict.verdict == verdicts.FAILED
    fine = standing.verdict == verdicts.DESCRIBES
    verdict = BREAKS if missed else DESCRIBES if fine else CANNOT_TELL
    reasons = standing.reasons
    if not isinstance(made, Refusal) and made.verdict.reasons:
        reasons = (*reasons, f"the forecast {'failed' if missed else 'cannot be judged'}: {made.verdict.why}")
    says = {
        DESCRIBES: "and the law describes these runs",
        BREAKS: "but the law misses the largest runs",
        CANNOT_TELL: "but these runs do not show that law",
    }
    buys = 1 - GROWTH ** -found.values["alpha"]
    text = f"Ten times {found.variable} takes {100 * buys:.0f} % off the loss above its floor, {says[verdict]}."
    return FirstScreen(name, text, Trust(verdict, reasons), _numbers_of_one(found))


def _numbers_of_one(found: OneVariable) -> tuple[Number, ...]:
    numbers = [
        _ranged(f"exponent alpha of {found.variable}", found.values["alpha"], f"{found.values['alpha']:.3f}",
                found.uncertainty, "alpha"),
        _ranged("floor E", found.values["E"], f"{found.values['E']:.4g}", found.uncertainty, "E"),
        Number("residual of the law", found.rms_log, percent(found.rms_log)),
    ]  # fmt: skip
    if not isinstance(found.forecast, Refusal):
        made = found.forecast
        error = Number("error of the forecast", made.rms_log, percent(made.rms_log), note=made.verdict.verdict)
        numbers.append(error)
    return tuple(numbers)


# Numbers


def _plain(label: str, value: int) -> Number:
    return Number(label, value, f"{value:,}")


def _known(approach: Approach, name: str, label: str, note: str) -> Number:
    """A quantity of an approach with the widest thing known about its range."""
    known = assessed(approach, name)
    value = approach.quantities[name]
    return _ranged(label, value, quantity(name, value), known[-1] if known else None, name, note)


def _ranged(label: str, value: float, text: str, known: Uncertainty | None, name: str, note: str = "") -> Number:
    if known is None or name not in known.ranges:
        return Number(label, value, text, note=note)
    ends = known.ranges[name]
    shown = f"{quantity(name, ends.low)} to {quantity(name, ends.high)}, {_form(known)}"
    return Number(label, value, text, shown, ends.low, ends.high, note)


def _form(known: Uncertainty) -> str:
    return f"{known.kind}" if known.form == "min..max" else known.form


def _short(*texts: str) -> str:
    """The first text that is no longer than a headline may be."""
    return next((text for text in texts if len(text.split()) <= MOST_WORDS), texts[-1])
