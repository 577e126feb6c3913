"""Grokking's task: addition modulo a prime on half of all pairs, with weight decay an axis.

    python launch.py --config=configs/modular.py           6 budgets x 3 weight decays x 3 seeds = 54 runs
    python launch.py --config=configs/modular.py:smoke     a small modulus: shows that everything works

Cost: `full` about 20 minutes on two CPU cores by estimate (`--plan` says it for yours); `smoke` under a minute.

Expect: the training loss falls long before the held-out one, and weight decay brings the two together (Power et al.
2022, arXiv:2201.02177). Runs see their examples hundreds of times, so no law in the tokens D is to be expected.
"""

from ml_collections import ConfigDict

from vsweep.config import default_dict


def get_config(variant: str = "full") -> ConfigDict:
    variants = {"full": full, "smoke": smoke}
    if variant not in variants:
        raise ValueError(f"unknown variant {variant!r}; allowed: {', '.join(variants)}")
    config = ConfigDict(default_dict())
    config.name = f"modular-{variant}"
    config.task.name = "modular_arithmetic"
    config.model.layers = 1
    config.model.dropout = 0.0
    config.optimizer.schedule = "constant"
    config.optimizer.warmup_steps = 10
    variants[variant](config)
    return config


def full(config: ConfigDict) -> None:
    config.model.width = 64
    config.model.head_dim = 16
    config.train.batch_size = 256
    config.train.curve_examples = 512
    config.train.final_examples = 4608
    config.optimizer.beta2 = 0.98
    config.optimizer.lr = 1e-3
    config.sweep.budget = tuple(250_000 * 2**doubling for doubling in range(6))
    config.sweep.weight_decay = (0.0, 0.1, 1.0)
    config.sweep.seed = (0, 1, 2)


def smoke(config: ConfigDict) -> None:
    config.task.modulus = 23
    config.train.batch_size = 16
    config.train.curve_examples = 64
    config.train.final_examples = 256
    config.sweep.width = (4, 8)
    config.sweep.budget = (4_000, 8_000, 16_000)
    config.sweep.weight_decay = (0.0, 0.1)
