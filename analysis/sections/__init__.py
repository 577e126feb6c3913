"""What a study asks. `SECTIONS` is the only list of sections, in the order of the report and of fits.json."""

from collections.abc import Callable, Sequence

from vsweep.analysis.data.source import Convention, Refusal, Source
from vsweep.analysis.fitting.fit import keeping
from vsweep.analysis.sections import (
    law,
    lines,
    loss_curves,
    optimum,
    runs,
    valleys,
)
from vsweep.analysis.sections.base import LAST, Finding, LossStudy, Section, begin
from vsweep.analysis.sections.checks import conventions, forecast, sensitivity
from vsweep.analysis.sections.further_laws import (
    downstream,
    hyperparameters,
    kaplan,
    language,
    one_variable,
    power_terms,
    repeated,
)
from vsweep.analysis.uncertainty.approach import NAMES

SECTIONS: tuple[Section, ...] = (
    optimum.SECTION,
    runs.SECTION,
    loss_curves.SECTION,
    valleys.SECTION,
    law.SECTION,
    repeated.SECTION,
    power_terms.SECTION,
    loss_curves.COMPUTE_LINE,
    language.SECTION,
    kaplan.SECTION,
    forecast.SECTION,
    lines.SECTION,
    hyperparameters.SECTION,
    downstream.SECTION,
    conventions.SECTION,
    sensitivity.SECTION,
    runs.EXCLUSIONS,
)


# Of a table that has one of N, D and C only.
OF_ONE_VARIABLE: tuple[Section, ...] = (one_variable.SECTION, runs.EXCLUSIONS)


def of(source: Source) -> tuple[Section, ...]:
    """The sections that `source` is asked."""
    return OF_ONE_VARIABLE if source.variable else SECTIONS


def study_loss(
    source: Source, convention: Convention, *, bootstrap: int, say: Callable[[str], None] = lambda _: None
) -> LossStudy:
    """Every section on one loss of `source`.

    Args:
      bootstrap: the number of resamples of each fit, 0 for none.
      say: takes the title of each section before it is computed.
    """
    study = begin(source, convention, bootstrap=bootstrap)
    asked = of(source)
    # The first section compares what others found: asked last, it does not compute them under its own title.
    with keeping():
        for number, section in enumerate((*asked[1:], asked[0]), start=1):
            say(f"{number} of {len(asked)}: {section.title}")
            study.result(section)
    return study


def findings(studies: Sequence[LossStudy]) -> list[Finding]:
    """All sentences: those about the source first, then each loss in turn, by weight."""
    found = [finding for study in studies for finding in findings_of(study)]
    order = {loss: place for place, loss in enumerate([None, *(study.loss for study in studies)])}
    return sorted(found, key=lambda finding: (order[finding.loss], finding.weight))


def findings_of(study: LossStudy) -> list[Finding]:
    """The sentences of one study, section by section, and what was refused at last."""
    found = [finding for section in of(study.source) for finding in section.findings(study, study.result(section))]
    refused = "; ".join(
        f"{NAMES.get(refusal.method, refusal.method)} - {refusal.reason}" for refusal in refusals(study)
    )
    return [*found, Finding(study.loss, "refused", LAST, f"refused: {refused}.")] if refused else found


def refusals(study: LossStudy) -> list[Refusal]:
    """Every fit that was not made, section by section."""
    asked = of(study.source)
    made = [refusal for section in asked for refusal in section.refusals(study, study.result(section))]
    reason = f"the table has {study.source.variable} only, and this needs two of N, D and C"
    not_asked = {section.title: None for section in SECTIONS if section not in asked}  # each title once
    return [*made, *(Refusal(title, reason) for title in not_asked)]
