"""3-digit addition, character by character: the loss of every width at every budget, and the law through them.

    python launch.py --config=configs/addition.py            20 widths x 5 budgets x 3 seeds = 300 runs
    python launch.py --config=configs/addition.py:laptop     6 widths x 5 budgets x 3 seeds = 90 runs
    python launch.py --config=configs/addition.py:wsd        the runs of laptop, whose budgets share trunks
    python launch.py --config=configs/addition.py:isoflop    5 levels of compute, 5 to 8 widths, 3 seeds: 96 runs
    python launch.py --config=configs/addition.py:seeds      one width, two budgets, 64 seeds: seed variance
    python launch.py --config=configs/addition.py:smoke      two-digit operands: shows that everything works

Cost: `full` 1.4e16 FLOP, one GPU, within a 9-hour session of a T4 by estimate; `laptop` 8.2e12 FLOP, 3 to 6 minutes
on two CPU cores; `isoflop` 3.8e12 FLOP, mostly of small widths, about 5 minutes there by estimate; `seeds` 3.2e13 FLOP,
about 20 minutes there by estimate; `smoke` under a minute, most of it compiling.

Expect: no clean power law. Small widths stay on a plateau (an answer loss of 1.1 to 1.2), larger ones fall off it
between 0.5M and 2M tokens, and there seeds differ by factors. docs/pilot.md says why the sizes are what they are.
"""

from ml_collections import ConfigDict

from vsweep.config import default_dict


def get_config(variant: str = "full") -> ConfigDict:
    variants = {"full": full, "laptop": laptop, "wsd": wsd, "seeds": seeds, "smoke": smoke, "isoflop": isoflop}
    if variant not in variants:
        raise ValueError(f"unknown variant {variant!r}; allowed: {', '.join(variants)}")
    config = ConfigDict(default_dict())
    config.name = f"addition-{variant}"
    variants[variant](config)
    return config


def full(config: ConfigDict) -> None:
    config.train.batch_size = 128
    config.train.curve_examples = 1024
    config.train.final_examples = 16_384
    config.sweep.width = (4, 8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256)
    config.sweep.budget = tuple(2_000_000 * 2**doubling for doubling in range(5))
    config.sweep.seed = (0, 1, 2)


def laptop(config: ConfigDict) -> None:
    config.train.curve_examples = 384  # so evaluating costs a tenth of the training time
    config.train.final_examples = 4608
    config.sweep.width = (4, 8, 12, 16, 24, 32)
    config.sweep.budget = tuple(125_000 * 2**doubling for doubling in range(5))
    config.sweep.seed = (0, 1, 2)


def wsd(config: ConfigDict) -> None:
    laptop(config)
    config.optimizer.schedule = "wsd"


def isoflop(config: ConfigDict) -> None:
    """Levels at which the best sizes of laptop lie well inside its widths: 4k to 12k parameters.

    The valleys are flat on their left side, so each level keeps the smallest width, whose loss has levelled off. On the
    right side the bounds leave out sizes that would train for a few steps only. Above 1e11 FLOP the loss breaks.
    """
    laptop(config)
    config.sweep.budget = ()
    config.sweep.width = (4, 8, 12, 16, 20, 24, 28, 32)
    config.sweep.flops = (1e10, 1.6e10, 2.5e10, 4e10, 6.4e10)
    config.sweep.tokens_per_param_bounds = (3, 15_000)


def seeds(config: ConfigDict) -> None:
    config.sweep.width = (32,)
    config.sweep.budget = (500_000, 1_000_000)
    config.sweep.seed = tuple(range(64))


def smoke(config: ConfigDict) -> None:
    config.task.digits = 2
    config.task.validation_examples = 1000
    config.model.layers = 1
    config.train.batch_size = 16
    config.train.curve_examples = 128
    config.train.final_examples = 512
    config.sweep.width = (4, 8)
    config.sweep.budget = (4_000, 8_000, 16_000)
    config.sweep.seed = (0, 1)
