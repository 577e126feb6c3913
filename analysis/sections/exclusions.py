"""The runs that no fit sees, each with its reason."""

from collections import Counter

from vsweep.analysis.data.points import Exclusion
from vsweep.analysis.sections.base import Finding, LossStudy, Section, Table


class Exclusions(Section[tuple[Exclusion, ...]]):
    """Which runs no fit has seen, and why."""

    name, title = "exclusions", "Excluded runs"

    def compute(self, study: LossStudy) -> tuple[Exclusion, ...]:
        return study.points.exclusions

    def findings(self, study: LossStudy, result: tuple[Exclusion, ...]) -> list[Finding]:
        if not result:
            return []
        counts = Counter(exclusion.kind for exclusion in result)  # in the order of the runs
        parts = ", ".join(f"{number} {kind}" for kind, number in counts.items())
        return self.about(study, 140, [f"excluded from the fits: {parts}."])

    def tables(self, study: LossStudy, result: tuple[Exclusion, ...]) -> list[Table]:
        rows = tuple((entry.run_id, entry.kind, entry.reason) for entry in result)
        return [Table("Excluded runs", ("run", "kind", "reason"), rows)] if rows else []

    def to_json(self, study: LossStudy, result: tuple[Exclusion, ...]) -> dict:
        return {"exclusions": [{"run_id": entry.run_id, "reason": entry.reason} for entry in result]}


SECTION = Exclusions()
