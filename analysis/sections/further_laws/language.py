"""What a study of text says beside its law: bits per byte, the n-gram levels, and tokens per parameter against 20."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from vsweep.analysis.approaches import parametric
from vsweep.analysis.data.language import Language
from vsweep.analysis.data.samples import Sample
from vsweep.analysis.data.source import Refusal
from vsweep.analysis.formatting import count, metric, printable
from vsweep.analysis.sections import law, loss_curves, valleys
from vsweep.analysis.sections.base import Finding, LossStudy, Section, Table, or_refused
from vsweep.analysis.uncertainty import verdicts
from vsweep.analysis.uncertainty.approach import Approach, assessed
from vsweep.analysis.uncertainty.estimates import largest_flops, law_quantities, quantities
from vsweep.analysis.uncertainty.intervals import Range, in_percent

RULE = 20.0  # tokens per parameter of a compute-optimal model (Hoffmann et al. 2022, table 3, rounded)
AGREES, MORE, FEWER, UNKNOWN = "agrees", "more tokens", "fewer tokens", "unknown"
IN_WORDS = {AGREES: "lies within", MORE: "lies below", FEWER: "lies above"}  # where the rule is, seen from an interval
MORE_COMPUTE = 10.0  # how many times the largest compute the law is asked for, too
NAMED = 4  # sizes that a sentence names


@dataclass(frozen=True)
class Measured:
    """A loss of one run, or the geometric mean over the seeds of a cell (without `run_id`), in both units."""

    run_id: str | None
    params: float
    tokens: float
    nats: float
    bits_per_byte: float | None


@dataclass(frozen=True)
class OfLaw:
    """A loss that the law predicts; `low` and `high` in nats per token, `form` says what they bound."""

    what: str
    nats: float
    bits_per_byte: float | None
    low: float | None = None
    high: float | None = None
    form: str = ""


@dataclass(frozen=True)
class Level:
    """How many cells end below a level; `first` has the smallest such budget of each size, None for none."""

    name: str
    nats: float
    bits_per_byte: float | None
    cells: int
    below: int
    first: dict[float, float | None]

    @property
    def never(self) -> list[float]:
        """Sizes that no budget takes below it."""
        return [size for size, budget in self.first.items() if budget is None]


@dataclass(frozen=True)
class TokensPerParameter:
    """D / N of the best run with the largest compute, by one approach; `refused` is why there is none."""

    method: str
    label: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    form: str = ""
    extrapolated: bool = False
    refused: str | None = None

    @property
    def verdict(self) -> str:
        """How an interval lies to the rule. A spread over a few fits is no interval, and judges nothing."""
        if self.low is None or not self.form.endswith("% interval"):
            return UNKNOWN
        return MORE if self.low > RULE else FEWER if self.high < RULE else AGREES


@dataclass(frozen=True)
class TextOfStudy:
    """All that the section has found; `sizes` are the sizes at their largest budgets, smallest size first."""

    best: Measured
    sizes: tuple[Measured, ...]
    of_law: tuple[OfLaw, ...]
    levels: tuple[Level, ...]
    ratios: tuple[TokensPerParameter, ...]


class LanguageSection(Section[TextOfStudy | None]):
    """Bits per byte, levels and tokens per parameter of a study of text; None in other studies."""

    name, title = "language", "Bits per byte, levels and tokens per parameter"

    def compute(self, study: LossStudy) -> TextOfStudy | Refusal | None:
        language = study.source.language
        if language is None or study.loss != "val_loss":
            return None
        if study.empty:
            return Refusal(self.name, "no finished run has a usable value")
        sizes = _largest_budgets(study.cells)
        found = [Measured(None, row.params, row.tokens, row.loss, language.bits(row.loss)) for row in sizes]
        levels = tuple(_level(study.cells, language, name) for name in language.levels)
        return TextOfStudy(_best(study), tuple(found), tuple(_of_law(study)), levels, tuple(_ratios(study)))

    def findings(self, study: LossStudy, result: TextOfStudy | Refusal | None) -> list[Finding]:
        if result is None or isinstance(result, Refusal):
            return []
        losses = _about_losses(result, study.source.language)
        told = [*losses, *map(_about_level, result.levels), *_about_ratios(study, result), *_doubt(study, result)]
        return self.about(study, 45, told)

    def tables(self, study: LossStudy, result: TextOfStudy | Refusal | None) -> list[Table]:
        if result is None or isinstance(result, Refusal):
            return []
        tables = [_losses(study, result), *_samples(study), _forecasts(result), _ratio_table(study, result)]
        return [table for table in tables if table.rows]

    def to_json(self, study: LossStudy, result: TextOfStudy | Refusal | None) -> dict:
        if result is None:
            return {}
        return {self.name: or_refused(result, lambda found: _to_json(study.source.language, found))}


SECTION = LanguageSection()


def _largest_budgets(cells: pd.DataFrame) -> Iterable:
    return cells.sort_values("budget").groupby("size").tail(1).sort_values("size").itertuples()


def _best(study: LossStudy) -> Measured:
    row = study.points.table.sort_values(["loss", "run_id"]).iloc[0]
    loss = float(row["loss"])
    bits = study.source.language.bits(loss)
    return Measured(str(row["run_id"]), float(row["params"]), float(row["tokens"]), loss, bits)


def _level(cells: pd.DataFrame, language: Language, name: str) -> Level:
    nats = language.levels[name]
    below = cells[cells["loss"] < nats]
    first = below.groupby("size")["budget"].min()
    by_size = {float(size): float(first[size]) if size in first else None for size in sorted(cells["size"].unique())}
    return Level(name, nats, language.bits(nats), len(cells), len(below), by_size)


def _of_law(study: LossStudy) -> Iterable[OfLaw]:
    """The floor, and the loss of the best run with the largest compute and with ten times as much."""
    approach, bits = study.result(law.SECTION), study.source.language.bits
    if approach.refused:
        return
    flops = largest_flops(study.points)
    for name, what in (("E", "floor E of the law"), ("loss_opt", f"optimum at C = {flops:.3g} FLOP")):
        if name in approach.quantities:
            nats = approach.quantities[name]
            yield OfLaw(what, nats, bits(nats), *_range(approach, name))
    more = MORE_COMPUTE * flops
    nats = quantities(study.points, approach.result, more)["loss_opt"]
    if np.isfinite(nats):
        what = f"optimum at C = {more:.3g} FLOP, {MORE_COMPUTE:g} times the largest here"
        yield OfLaw(what, nats, bits(nats), *_range_of_resamples(study, approach, more))


def _range(approach: Approach, name: str) -> tuple[float | None, float | None, str]:
    """(low, high, form) of the widest thing known about a quantity."""
    known = assessed(approach, name)
    if not known:
        return None, None, ""
    found: Range = known[-1].ranges[name]
    return found.low, found.high, known[-1].form


def _range_of_resamples(study: LossStudy, approach: Approach, flops: float) -> tuple[float | None, float | None, str]:
    """Quantiles over the resampled laws, which are not widened by what seeds share."""
    if approach.resamples is None or not _range(approach, "loss_opt")[2].endswith("% interval"):
        return None, None, ""
    level, fitted = study.convention.level, approach.result
    assert isinstance(fitted, parametric.ParametricFit)
    losses = law_quantities(approach.resamples, study.points, flops, fitted.floor_free)["loss_opt"]
    losses = losses[np.isfinite(losses)]
    if not len(losses):
        return None, None, ""
    low, high = np.quantile(losses, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high), f"{in_percent(level)} of {len(losses)} resampled laws"


def _ratios(study: LossStudy) -> Iterable[TokensPerParameter]:
    approaches = (study.result(loss_curves.SECTION), *study.result(valleys.SECTION), study.result(law.SECTION))
    for approach in approaches:
        label = approach.label
        if approach.refused:
            yield TokensPerParameter(approach.method, label, refused=approach.result.reason)
            continue
        value, name = approach.quantities["tokens_per_param"], "tokens_per_param"
        if not np.isfinite(value):
            yield TokensPerParameter(approach.method, label, refused="no optimum at the largest compute")
            continue
        beyond = any(law.extrapolated(study, each, approach.quantities[each]) for each in ("N_opt", "D_opt"))
        yield TokensPerParameter(approach.method, label, value, *_range(approach, name), extrapolated=beyond)


# Sentences


def _both(nats: float, bits: float | None, low: float | None = None, high: float | None = None, form: str = "") -> str:
    """Such as `1.672 nats/token (2.412 bits per byte)`."""
    known = f"; {low:.3f} to {high:.3f} nats/token, {form}" if low is not None else ""
    in_bits = f"{bits:.3f} bits per byte" if bits is not None else ""
    inside = f"{in_bits}{known}" if in_bits else known.removeprefix("; ")
    return f"{nats:.3f} nats/token" + (f" ({inside})" if inside else "")


def _about_losses(result: TextOfStudy, language: Language) -> list[str]:
    best = result.best
    sentences = [
        f"the best run is {best.run_id} (N = {metric(best.params)}, D = {metric(best.tokens)}): "
        f"{_both(best.nats, best.bits_per_byte)}."
    ]
    sentences += [
        f"the {each.what}: {_both(each.nats, each.bits_per_byte, each.low, each.high, each.form)}."
        for each in result.of_law
    ]
    if language.bytes_per_token is None:
        sentences.append("bits per byte are not shown, because task.json does not say how many bytes a token has.")
    return sentences


def _about_level(level: Level) -> str:
    text = f"the {level.name} level is {_both(level.nats, level.bits_per_byte)}"
    cells = count(level.cells, "cell")
    if not level.below:
        return f"{text}: none of {cells} ends below it."
    budget, size = min((budget, size) for size, budget in level.first.items() if budget is not None)
    text += f": {level.below} of {cells} end below it, at D = {metric(budget)} first N = {metric(size)}"
    if not level.never:
        return f"{text}. Each of {count(len(level.first), 'size')} gets below it at some budget."
    named = ", ".join(metric(size) for size in level.never[:NAMED])
    more = f" and {len(level.never) - NAMED} more" if len(level.never) > NAMED else ""
    return f"{text}. No budget here takes N = {named}{more} below it."


def _about_ratios(study: LossStudy, result: TextOfStudy) -> list[str]:
    known = [ratio for ratio in result.ratios if ratio.value is not None]
    if not known:
        return ["tokens per parameter at the optimum are not known, because every approach was refused."]
    each = "; ".join(f"{ratio.label} {_ratio_in_words(ratio)}" for ratio in known)
    told = [f"compute-optimal tokens per parameter at C = {largest_flops(study.points):.3g} FLOP: {each}."]
    judged = {
        verdict: [ratio.label for ratio in known if ratio.verdict == verdict] for verdict in (AGREES, MORE, FEWER)
    }
    parts = [
        f"{IN_WORDS[verdict]} the interval{'s' * (len(names) > 1)} of {', '.join(names)}"
        for verdict, names in judged.items()
        if names
    ]
    rule = f"the rule of {RULE:g} tokens per parameter (Hoffmann et al. 2022)"
    if not parts:
        return [*told, f"{rule} cannot be judged, because no approach has an interval."]
    tokens = study.source.language.bytes_per_token
    of_bytes = f"{tokens:.3g} byte{'' if f'{tokens:.3g}' == '1' else 's'}" if tokens else ""
    size = f" A token here is {of_bytes}, and other tokens have another ratio." if tokens else ""
    return [*told, f"{rule} {', and '.join(parts)}.{size}"]


def _ratio_in_words(ratio: TokensPerParameter) -> str:
    known = f" ({_span(ratio)})" if ratio.low is not None else " (no interval)"
    return f"{metric(ratio.value)}{known}{' [extrapolated]' if ratio.extrapolated else ''}"


def _span(ratio: TokensPerParameter) -> str:
    return "" if ratio.low is None else f"{metric(ratio.low)} to {metric(ratio.high)}, {ratio.form}"


def _doubt(study: LossStudy, result: TextOfStudy) -> list[str]:
    """A warning where the law whose losses and ratio are given is not one that these runs show."""
    if not result.of_law or (verdict := law.standing(study).verdict) == verdicts.DESCRIBES:
        return []
    return [f"the parametric law is {verdict} on these runs, and so are its losses and its tokens per parameter here."]


# Tables


def _cells(nats: float, bits: float | None) -> tuple[str, str]:
    return f"{nats:.3f}", "" if bits is None else f"{bits:.3f}"


def _losses(study: LossStudy, result: TextOfStudy) -> Table:
    """The best run, each size at its largest budget with the budgets of the levels, and the levels themselves."""
    budgets = [f"first budget below the {level.name} level" for level in result.levels]
    best, empty = result.best, ("",) * len(budgets)
    rows = [("best run", metric(best.params), metric(best.tokens), *_cells(best.nats, best.bits_per_byte), *empty)]
    sizes = sorted(study.cells["size"].unique())
    for size, found in zip(sizes, result.sizes, strict=True):
        first = (level.first[size] for level in result.levels)
        reached = ("none" if budget is None else metric(budget) for budget in first)
        numbers = (metric(found.params), metric(found.tokens), *_cells(found.nats, found.bits_per_byte))
        rows.append(("largest budget", *numbers, *reached))
    rows += [(f"{each.name} level", "", "", *_cells(each.nats, each.bits_per_byte), *empty) for each in result.levels]
    note = (
        "Bits per byte = nats per token / (ln 2 x bytes per token). They do not depend on the tokenizer. Losses of a "
        "size are geometric means over its seeds. A model below the bigram level uses more than the token before."
    )
    head = ("what", "N", "D", "nats/token", "bits per byte", *budgets)
    return Table("Losses in bits per byte, and the levels", head, tuple(rows), note)


def _samples(study: LossStudy) -> list[Table]:
    samples = study.source.samples
    if not samples:
        return []
    head = ("N", "run", "nats/token", "bits per byte", "text")
    warm = samples[0].temperature
    how = "the likeliest tokens" if warm == 0 else f"drawn at temperature {warm:g} with a fixed seed"
    sizes = study.cells["size"].nunique()
    some = f" Only {len(samples)} of {sizes} sizes have one." if len(samples) < sizes else ""
    note = f"Each text begins as a new document does: {how}. Bytes that are no text are shown as escapes or �.{some}"
    return [Table("Text from the best run of each size", head, tuple(_sample(study, one) for one in samples), note)]


def _sample(study: LossStudy, sample: Sample) -> tuple[str | tuple[str, ...], ...]:
    lines = tuple(line for line in printable(sample.text).split("\n") if line.strip()) or ("(an empty document)",)
    losses = _cells(sample.val_loss, study.source.language.bits(sample.val_loss))
    return metric(sample.params), printable(sample.run_id), *losses, lines


def _forecasts(result: TextOfStudy) -> Table:
    rows = tuple(
        (
            each.what,
            *_cells(each.nats, each.bits_per_byte),
            "" if each.low is None else f"{each.low:.3f} to {each.high:.3f} ({each.form})",
        )
        for each in result.of_law
    )
    head = ("what", "nats/token", "bits per byte", "range in nats/token")
    return Table("What the law predicts, in bits per byte", head, rows)


def _ratio_table(study: LossStudy, result: TextOfStudy) -> Table:
    rows = tuple(
        (ratio.label, "refused", ratio.refused, "", "")
        if ratio.refused is not None
        else (
            ratio.label,
            metric(ratio.value) + (" [extrapolated]" if ratio.extrapolated else ""),
            _span(ratio) or "no interval",
            ratio.verdict,
            f"{ratio.value / RULE:.2g}",
        )
        for ratio in result.ratios
    )
    note = (
        f"D / N of the compute-optimal run at C = {largest_flops(study.points):.3g} FLOP, the largest compute here, "
        f"against {RULE:g} (Hoffmann et al. 2022). The verdict compares the interval with the rule."
    )
    head = ("approach", "tokens per parameter", "range", "verdict", f"times {RULE:g}")
    return Table(f"Tokens per parameter against {RULE:g}", head, rows, note)


def _to_json(language: Language, result: TextOfStudy) -> dict:
    ratios = [
        {**asdict(ratio), "rule": RULE, "verdict": None if ratio.refused else ratio.verdict} for ratio in result.ratios
    ]
    return {
        "bytes_per_token": language.bytes_per_token,
        "best": asdict(result.best),
        "sizes": [asdict(each) for each in result.sizes],
        "law": [asdict(each) for each in result.of_law],
        "levels": [
            {**asdict(level), "first": [{"size": size, "budget": first} for size, first in level.first.items()]}
            for level in result.levels
        ],
        "tokens_per_param": [{name: value for name, value in ratio.items() if name != "label"} for ratio in ratios],
    }
