"""What a little more would buy: the interval of a with more compute, one more seed, or one more size."""

from dataclasses import dataclass

import numpy as np

from vsweep.analysis.designer.assumption import Assumption
from vsweep.analysis.designer.precision import CannotTell, Precision, expected
from vsweep.analysis.designer.runs import Runs

MORE_COMPUTE = 1.25


@dataclass(frozen=True)
class Offer:
    """A change of the design, its cost as a share of the design's FLOP, and what would be known then."""

    name: str
    runs: Runs
    more: float
    precision: Precision | CannotTell

    @property
    def known(self) -> bool:
        return isinstance(self.precision, Precision)


def offers(runs: Runs, assumption: Assumption) -> list[Offer]:
    """25 % more tokens for each run, one more seed, one more size at either end."""
    changed = {
        "25 % more compute (D x 1.25)": runs.more_tokens(MORE_COMPUTE),
        "one more seed": runs.more_seeds(),
        "one larger size": runs.one_more_size(larger=True),
        "one smaller size": runs.one_more_size(larger=False),
    }
    return [
        Offer(name, other, other.flops / runs.flops - 1, expected(other, assumption)) for name, other in changed.items()
    ]


def best(offered: list[Offer], now: Precision | CannotTell) -> Offer | None:
    """The one that narrows a most for its cost, in log width over log cost; None where none helps."""
    known = [offer for offer in offered if offer.known]
    if isinstance(now, CannotTell):
        return min(known, key=lambda offer: offer.more, default=None)
    gains = [(np.log(now.a / offer.precision.a) / np.log1p(offer.more), offer) for offer in known]
    gain, offer = max(gains, key=lambda pair: pair[0], default=(0.0, None))
    return offer if gain > 0 else None
