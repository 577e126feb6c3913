"""What compute buys at best, whatever the size: L(C) through the lower hull of all losses."""

from vsweep.analysis.approaches import compute_frontier
from vsweep.analysis.approaches.compute_frontier import ComputeLine
from vsweep.analysis.data.points import Refusal
from vsweep.analysis.formatting import percent
from vsweep.analysis.sections.base import Finding, LossStudy, Section, or_refused


class ComputeFrontier(Section[ComputeLine]):
    """What loss an amount of compute can buy."""

    name, title = "compute_line", "What compute buys"

    def compute(self, study: LossStudy) -> ComputeLine | Refusal:
        convention = study.convention
        floor, annealed_only = convention.given_floor or 0.0, bool(convention.annealed_only)
        return compute_frontier.of_curves(study.points, floor=floor, annealed_only=annealed_only)

    def findings(self, study: LossStudy, result: ComputeLine | Refusal) -> list[Finding]:
        return [] if isinstance(result, Refusal) else self.about(study, 50, [_about(study, result)])

    def to_json(self, study: LossStudy, result: ComputeLine | Refusal) -> dict:
        return {"compute_line": or_refused(result, _json)}


SECTION = ComputeFrontier()


def _about(study: LossStudy, line: ComputeLine) -> str:
    under = "all loss curves, annealed or not"
    if study.points.curves is None:
        under = "all runs"
    elif study.convention.annealed_only:
        under = "the annealed ends of all loss curves"
    return (
        f"the lowest loss at each compute follows {line.describe()}. This line goes through the {len(line.vertices)} "
        f"vertices of the lower hull of {under}, with a root-mean-square distance of {percent(line.rms_log)}."
    )


def _json(line: ComputeLine) -> dict:
    numbers = {name: getattr(line, name) for name in ("a", "C0", "C0_pf_days", "floor", "rms_log")}
    return {**numbers, "vertices": line.vertices.to_dict("records")}
