"""The parts of a plan, as `allocation.plan` returns it: N in parameters, D in tokens, loss in nats/token, C in FLOP."""

from dataclasses import dataclass

from vsweep.analysis.approaches.parametric import Law


@dataclass(frozen=True)
class GpuTime:
    """Time on GPUs as compute; `flops_per_s` of one GPU, of which training reaches the share `mfu`."""

    hours: float
    gpus: float
    flops_per_s: float
    mfu: float

    @property
    def flops(self) -> float:
        """Training compute in FLOP."""
        return self.hours * 3600 * self.gpus * self.flops_per_s * self.mfu


@dataclass(frozen=True)
class Estimate:
    """A quantity by the fitted law and its interval over the resampled laws; None without them. `high` may be inf."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Optimum:
    """The compute-optimal run: N in parameters, D in tokens, losses in nats/token.

    `loss` is the law's at this N and D; `single_run` the range in which one run falls, its scatter included (None where
    that is not known). `regret` is the loss by which this run misses the optimum of the true law, at most, in the share
    `level` of the resampled laws (None without them).
    """

    params: Estimate
    tokens: Estimate
    tokens_per_param: Estimate
    loss: Estimate
    single_run: tuple[float, float] | None
    regret: float | None


@dataclass(frozen=True)
class OffOptimum:
    """The same compute at `times` N_opt: the loss it gives up, and the share of the compute that is wasted.

    A compute-optimal run with 1 - wasted of the compute would have the same loss. Both are against the planned run, so
    they fall below zero in a resampled law that prefers this size.
    """

    times: float
    params: float
    tokens: float
    loss: Estimate
    given_up: Estimate
    wasted: Estimate


@dataclass(frozen=True)
class Smaller:
    """A model `times` smaller than N_opt, trained on until its loss is that of the compute-optimal run.

    `tokens` and all that follows from it is inf where no amount of data suffices; `never` is the share of the resampled
    laws in which that is so. `flops_times` is training compute over that of the optimum; `break_even` the served tokens
    after which the cheaper forward pass has paid for the longer training.
    """

    times: float
    params: float
    tokens: Estimate
    flops: Estimate
    flops_times: Estimate
    extra_flops: Estimate
    saved_per_token: float
    break_even: Estimate
    never: float | None


@dataclass(frozen=True)
class Serving:
    """The size with the least FLOP for training and serving `served` tokens together, at the loss of the optimum.

    The interval of `params` is where the resampled laws would put this size; all others are for the size of the fitted
    law. `saved` is against the compute-optimal run, trained and served as often.
    """

    served: float
    params: Estimate
    tokens: Estimate
    tokens_per_param: Estimate
    training_flops: Estimate
    serving_flops: float
    total_flops: Estimate
    saved: Estimate


@dataclass(frozen=True)
class AtFixedTokens:
    """A size for a fixed D: its training compute, its loss, and the loss which a doubling of N would still gain."""

    params: Estimate
    flops: Estimate
    loss: Estimate
    doubling_gains: Estimate


@dataclass(frozen=True)
class FixedTokens:
    """What a fixed D allows.

    `scarce` says whether the compute would take more tokens than there are. `largest` spends all the compute on D;
    `balanced` is the size for which D is compute-optimal; beyond `last_visible` a doubling of N gains less than one
    standard deviation of a single run (None where that is not known, or where it hides every doubling). `floor` is
    the loss E + B/D^beta that no size can beat with D tokens, `of_data` its part B/D^beta.
    """

    tokens: float
    scarce: bool
    largest: AtFixedTokens
    balanced: AtFixedTokens
    last_visible: AtFixedTokens | None
    floor: Estimate
    of_data: Estimate


@dataclass(frozen=True)
class Reserve:
    """A `share` of the whole compute kept back, and the compute-optimal run with the rest.

    `given_up` is in nats/token against a run with everything. `loss_of_rerun` is that of the compute-optimal run with
    what was kept, and `reruns` how often that would pay for the same run again. `best_at_chance` is the chance of
    losing the run at its very end for which this share gives the lowest expected loss.
    """

    share: float
    flops_kept: float
    params: float
    tokens: float
    loss: Estimate
    given_up: Estimate
    reruns: float
    loss_of_rerun: Estimate | None
    best_at_chance: float


@dataclass(frozen=True)
class Plan:
    """Everything a law says about a compute. `flops` is what the run may use, (1 - reserve) x `flops_total`."""

    law: Law
    flops_total: float
    reserve: float
    flops: float
    level: float
    resamples: int
    optimum: Optimum
    off_optimum: tuple[OffOptimum, ...]
    smaller: tuple[Smaller, ...]
    serving: Serving | None
    fixed_tokens: FixedTokens | None
    reserves: tuple[Reserve, ...]
