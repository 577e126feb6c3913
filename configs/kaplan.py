"""Kaplan's study of language models: the loss curves of several widths, and the line under them, by compute.

    vsweep tokenise hf:allenai/c4:en --tokenizer gpt2 --max-tokens 1e9 --out corpora/c4     streams C4 once: 2 GB of ids
    python launch.py --config=configs/kaplan.py:c4 --plan --plan_device=A100-40GB   needs neither that corpus nor a GPU
    python launch.py --config=configs/kaplan.py:c4         9 widths of 12 layers, 983M tokens each: a GPU with bfloat16
    python launch.py --config=configs/kaplan.py:budgets    the same widths at five budgets each, which share trunks
    python launch.py --config=configs/kaplan.py:t4         a GPU without bfloat16: 6 widths, context 256, 246M tokens
    python launch.py --config=configs/kaplan.py:offline    as t4 on any text of 41 MB or more, as bytes: no network
    python launch.py --config=configs/kaplan.py:laptop     bundled speeches as bytes: 6 widths, and a batch-size study
    python launch.py --config=configs/kaplan.py:smoke      one layer, 4 widths: shows that everything works

For `offline`, put .txt or .jsonl files into a folder and run `vsweep tokenise FOLDER --out corpora/offline` first.
docs/text.md shows how to get 95 MB of API documentation out of two wheels of PyPI.

Cost: `smoke` a minute, `laptop` about 5 minutes on two quiet CPU cores. The others: `--plan --plan_device=...` says it,
from first guesses of a GPU's speed. `c4` is 6.3e17 FLOP: by arithmetic 3.4 hours at a sixth of an A100's peak.

Expect: the report's section "Kaplan's reading of the loss curves" with three figures: loss against PF-days without
embeddings, loss against tokens, and the kink of each curve. The published curves of such a study have the slope -0.0685
under all curves. Kaplan's -0.050 is of C_min, at batches far below the critical one. Runs of `laptop` and `smoke` vary
the batch size at one width, so that the report can say what C_min is there.
"""

from ml_collections import ConfigDict

from vsweep.config import default_dict

WIDTHS = (32, 48, 64, 96, 112, 128, 160, 192, 256)  # of the published curves, but for 196, which 8 does not divide
HEADS = 8
STEP_TOKENS = 32 * 1024


def get_config(variant: str = "c4") -> ConfigDict:
    variants = {"c4": c4, "budgets": budgets, "t4": t4, "offline": offline, "laptop": laptop, "smoke": smoke}
    if variant not in variants:
        raise ValueError(f"unknown variant {variant!r}; allowed: {', '.join(variants)}")
    config = ConfigDict(default_dict())
    config.name = f"kaplan-{variant}"
    config.task.name = "text"
    config.model.dropout = 0.0
    config.optimizer.schedule = "constant"  # every point of a curve is then the end of a run like it
    config.optimizer.weight_decay = 0.0
    variants[variant](config)
    return config


def c4(config: ConfigDict) -> None:
    config.task.corpus = "corpora/c4"
    config.task.made_from = "hf:allenai/c4:en"
    config.task.tokenizer = "gpt2"
    config.task.expected_tokens = 10**9
    config.task.context = 1024
    config.model.layers = 12
    config.model.heads = HEADS
    config.optimizer.lr = 1e-3
    config.optimizer.warmup_steps = 200
    config.train.precision = "bfloat16"
    config.train.batch_size = 32
    config.train.max_epochs = 1.0  # a corpus that is too short is refused, never repeated
    config.train.curve_points = 100
    config.train.curve_examples = 256
    config.train.final_examples = 1024
    config.sweep.width = WIDTHS
    config.sweep.budget = (30_000 * STEP_TOKENS,)


def budgets(config: ConfigDict) -> None:
    c4(config)
    config.optimizer.schedule = "wsd"
    config.train.keep_finished = "longest"
    config.sweep.budget = tuple(1_875 * STEP_TOKENS * 2**doubling for doubling in range(5))


def t4(config: ConfigDict) -> None:
    c4(config)
    config.task.context = 256
    config.train.precision = "float32"
    config.sweep.width = tuple(width for width in WIDTHS if width <= 128)
    config.sweep.budget = (30_000 * 32 * 256,)


def offline(config: ConfigDict) -> None:
    t4(config)
    config.task.corpus = "corpora/offline"
    config.task.made_from = "FOLDER"
    config.task.tokenizer = "bytes"
    config.task.expected_tokens = 41_000_000
    config.sweep.budget = (5_000 * 32 * 256,)


def laptop(config: ConfigDict) -> None:
    config.task.corpus = "speeches"
    config.task.context = 64
    config.model.layers = 2
    config.model.heads = 2
    config.optimizer.lr = "0.0015 * batch_size**0.5"  # 6e-3 at 16; at one rate, larger batches save no steps
    config.optimizer.beta2 = 0.95
    config.optimizer.warmup_steps = 20
    config.train.curve_points = 40
    config.train.curve_examples = 128
    config.train.final_examples = 512
    config.sweep.budget = (2**21,)
    config.sweep.seed = (0, 1)
    with_batch_sizes(config, widths=(8, 12, 16, 24, 32, 48), study_width=16, batch_sizes=(4, 8, 32, 64, 128))


def with_batch_sizes(config: ConfigDict, widths: tuple, study_width: int, batch_sizes: tuple) -> None:
    """Every width at one batch size of 16, and one width at others too: what C_min is computed from."""
    config.sweep.paired = (("width", "batch_size"),)
    config.sweep.width = (*widths, *(study_width for _ in batch_sizes))
    config.sweep.batch_size = (*(16 for _ in widths), *batch_sizes)


def smoke(config: ConfigDict) -> None:
    laptop(config)
    config.task.context = 32
    config.model.layers = 1
    config.optimizer.warmup_steps = 5
    config.train.curve_points = 20
    config.train.curve_examples = 64
    config.train.final_examples = 256
    config.sweep.budget = (2**17,)
    with_batch_sizes(config, widths=(8, 12, 16, 24, 32), study_width=8, batch_sizes=(4, 8, 32))
