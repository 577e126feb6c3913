"""What a design is judged by: a law that the losses are supposed to follow, and the scatter between its seeds."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from vsweep.analysis.approaches.parametric import HOFFMANN, Law
from vsweep.analysis.formatting import metric, share
from vsweep.analysis.planner.saved_law import BadLaw, given_law, read_fits
from vsweep.analysis.planner.text import law_text
from vsweep.analysis.tables.units import NATS
from vsweep.analysis.uncertainty.verdicts import DESCRIBES

SEED_SPREAD = 0.01  # of log loss, where nothing better is known
CHINCHILLA_AT = (1e9, 2e10)  # N and D in the middle of Hoffmann et al. 2022, near their compute-optimal path


@dataclass(frozen=True)
class Assumption:
    """The law, `sd_log` between the seeds of its log loss, and whether E will be fitted (`floor_free`).

    `about` says what is assumed, as the rest of "If ..."; `doubts` are sentences on why not to believe it. `size` is
    the convention that N follows.
    """

    law: Law
    sd_log: float
    floor_free: bool
    about: str
    size: str = "params"
    doubts: tuple[str, ...] = ()


def chinchilla(params: float, tokens: float, *, floor_known: bool, sd_log: float = SEED_SPREAD) -> Assumption:
    """The law of Hoffmann et al. 2022 moved so that N and D lie where 1B parameters and 20B tokens lie in theirs.

    Its exponents are kept, and so is what E, the size and the data each add to the loss there. With an exactly known
    floor the law is that of the excess loss, without E.
    """
    by_n, by_d = params / CHINCHILLA_AT[0], tokens / CHINCHILLA_AT[1]
    law = Law(
        E=0.0 if floor_known else HOFFMANN.E,
        A=HOFFMANN.A * by_n**HOFFMANN.alpha,
        B=HOFFMANN.B * by_d**HOFFMANN.beta,
        alpha=HOFFMANN.alpha,
        beta=HOFFMANN.beta,
    )
    loss = "excess loss over the task's exact floor" if floor_known else "loss"
    about = (
        f"the {loss} followed Chinchilla's law (Hoffmann et al. 2022: alpha {HOFFMANN.alpha}, beta {HOFFMANN.beta}, "
        f"moved so that N = {metric(params)}, D = {metric(tokens)} lie where 1B, 20B lie there), with {share(sd_log)} "
        f"between seeds"
    )
    return Assumption(law, sd_log, not floor_known, about)


def assume(text: str, loss: str | None = None, sd_log: float | None = None) -> Assumption:
    """The law of a fits.json with its own scatter between seeds, or a law that is given.

    Args:
      text: a path to fits.json, `hoffmann`, or the five constants "E,A,B,alpha,beta".
      loss: which loss of fits.json; the first fitted one by default.
      sd_log: the scatter between seeds in log loss; by default that of the file, else `SEED_SPREAD`.

    Raises:
      BadLaw: no such file or law, or a scatter that is no positive number.
    """
    if text.strip().lower() == "hoffmann" or (re.fullmatch(r"[-+\d.eE,\s]+", text) and "," in text):
        saved, spread = given_law(text), SEED_SPREAD
        floor_free = saved.law.E > 0
    else:
        saved = read_fits(text, loss)
        entry = json.loads(Path(text).read_text(encoding="utf-8"))["losses"][saved.loss]
        spread = entry.get("seed_noise_log") or saved.residual_sd_log or SEED_SPREAD
        floor_free = entry["convention"]["E"] == "free"
        if isinstance(spread, bool) or not isinstance(spread, int | float) or not 0 < spread < float("inf"):
            raise BadLaw(f"{text}: losses.{saved.loss}.seed_noise_log: must be a number above 0 - got {spread!r}")
    sd_log = spread if sd_log is None else sd_log
    doubts = ()
    if saved.standing is not None and saved.standing.verdict != DESCRIBES:
        doubts = (f"The runs of that study say of its law: {saved.standing.verdict} ({saved.standing.why}).",)
    unit = saved.loss_unit if saved.from_file else NATS
    about = f"the loss followed {saved.source}, {law_text(saved.law, unit)}, with {share(sd_log)} between seeds"
    return Assumption(saved.law, sd_log, floor_free, about, saved.size, doubts)
