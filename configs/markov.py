"""Text of a random Markov chain, whose entropy is known exactly: does the E of a fitted law come out right?

    python launch.py --config=configs/markov.py            5 widths x 5 budgets x 2 seeds = 50 runs
    python launch.py --config=configs/markov.py:smoke      two widths: shows that everything works

Cost: `full` about 2 minutes on two CPU cores, `smoke` under a minute.

Expect: `val_loss` falls towards the `floor` of runs.csv, 1.798 nats per token, and the 90 % interval of the fitted E of
val_loss holds it: E = 1.794, from 1.772 to 1.799. There is no answer here, so answer_loss and exact_match stay empty.

The design is one for which a law can hold. The chain has order 1: with order 2 the loss stays on a plateau, where the
model knows the frequencies of tokens alone, and then falls within one doubling of the budget. The widths begin at half
of the symbols: a narrower model has not the rank for the table, and its loss falls faster than any power of its size.
"""

from ml_collections import ConfigDict

from vsweep.config import default_dict


def get_config(variant: str = "full") -> ConfigDict:
    variants = {"full": full, "smoke": smoke}
    if variant not in variants:
        raise ValueError(f"unknown variant {variant!r}; allowed: {', '.join(variants)}")
    config = ConfigDict(default_dict())
    config.name = f"markov-{variant}"
    config.task.name = "markov"
    config.model.dropout = 0.0
    variants[variant](config)
    return config


def full(config: ConfigDict) -> None:
    config.task.symbols = 16
    config.task.order = 1
    config.task.training_examples = 200_000
    config.model.layers = 1
    config.optimizer.lr = 1e-2
    config.train.batch_size = 16
    config.train.curve_examples = 512
    config.train.final_examples = 4096
    config.sweep.width = (8, 12, 16, 24, 32)
    config.sweep.budget = tuple(60_000 * 2**doubling for doubling in range(5))
    config.sweep.seed = (0, 1)


def smoke(config: ConfigDict) -> None:
    config.task.symbols = 4
    config.task.order = 1
    config.task.length = 9
    config.task.training_examples = 5_000
    config.task.validation_examples = 512
    config.model.layers = 1
    config.train.batch_size = 16
    config.train.curve_examples = 128
    config.train.final_examples = 512
    config.sweep.width = (4, 8)
    config.sweep.budget = (4_000, 8_000, 16_000)
    config.sweep.seed = (0, 1)
