"""What a fitted law says about runs that have not ended, and which of them missed it once they had.

A run is only held against a law that was fitted before it ended, inside the sizes and tokens of that fit, and only if
the fit itself judges that the law describes the runs. The limit is three times the scatter of the fit's residuals.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from vsweep.analysis.planner.saved_law import BadLaw, SavedLaw, read_fits
from vsweep.analysis.uncertainty.verdicts import DESCRIBES
from vsweep.schema import FINISHED
from vsweep.serve.state import files
from vsweep.serve.state.drift import SIGMAS
from vsweep.serve.state.tables import Run

FITS = ("analysis", "fits.json")
AT_THE_EDGE = 1.01  # budgets are met to within a batch


@dataclass(frozen=True)
class Miss:
    """A run that ended off its forecast; losses in nats per token, `off` and `limit` of log loss."""

    run_id: str
    loss: float
    predicted: float
    off: float
    limit: float


def law_of(workdir: Path, loss: str) -> SavedLaw | str:
    """The law in the work directory's fits.json, or why no run can be held against it."""
    if files.stamp(workdir, *FITS) is None:
        return "no law has been fitted yet"
    try:
        law = read_fits(workdir.joinpath(*FITS), loss)
    except (BadLaw, OSError) as error:
        return f"no law: {error}"
    if law.standing is None or law.standing.verdict != DESCRIBES:
        reasons = law.standing.why if law.standing else "its file does not say how well it fits"
        return f"the law may not describe these runs: {reasons}"
    return law if law.residual_sd_log else "the fit does not say how far runs scatter around its law"


class Forecasts:
    """The laws that stood while runs were under way."""

    def __init__(self):
        self._made: dict[str, SavedLaw] = {}

    def update(self, runs: Iterable[Run], law: SavedLaw | str) -> None:
        """Every run that has not ended is forecast by `law` from now on; one that has keeps its last forecast."""
        if isinstance(law, SavedLaw):
            self._made |= {run.run_id: law for run in runs if not run.has_ended and _inside(run, law, run.budget)}

    def of(self, run: Run) -> float | None:
        """The loss predicted for the end of a run under way, in nats per token."""
        law = self._made.get(run.run_id)
        return None if law is None else float(law.law.loss(run.sizes[law.size], run.budget))

    def judged(self, runs: Iterable[Run]) -> int:
        """How many runs have ended after their forecast."""
        return sum(run.run_id in self._made and run.status == FINISHED for run in runs)

    def misses(self, runs: Iterable[Run], loss: str) -> list[Miss]:
        """The finished runs whose last evaluation lies beyond the limit."""
        found = []
        for run in runs:
            law, last = self._made.get(run.run_id), run.curve.get(run.steps, {}).get(loss, math.nan)
            if law is None or run.status != FINISHED or not last > 0:
                continue
            predicted = float(law.law.loss(run.sizes[law.size], run.tokens))
            off, limit = math.log(last / predicted), SIGMAS * law.residual_sd_log
            if abs(off) > limit:
                found.append(Miss(run.run_id, last, predicted, off, limit))
        return found


def _inside(run: Run, law: SavedLaw, tokens: float) -> bool:
    values = {"params": run.sizes[law.size], "tokens": tokens}
    return all(
        law.ranges[name][0] / AT_THE_EDGE <= value <= law.ranges[name][1] * AT_THE_EDGE if name in law.ranges else False
        for name, value in values.items()
    )
