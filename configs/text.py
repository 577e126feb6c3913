"""Language on a laptop: the loss of a next-byte model at every width and budget, and the law through them.

    python launch.py --config=configs/text.py:laptop       speeches as bytes: 6 widths x 5 budgets x 2 seeds = 60 runs
    python launch.py --config=configs/text.py:smoke        the same speeches, one layer: shows that everything works
    python launch.py --config=configs/text.py:mycorpus --config.task.corpus=FOLDER
                                                           your own texts: 5 widths x 5 budgets x 2 seeds = 50 runs
    python launch.py --config=configs/text.py:bpe          speeches as 1,024 byte pairs, from a store; 60 runs
    python launch.py --config=configs/text.py:full         C4 as 4,096 byte pairs, from a store; one GPU, 70 runs
    python launch.py --config=configs/text.py:repeat       what a repeated token is worth: 3 widths x 12 pairs of unique
                                                           tokens and budgets, 1 to 32 epochs, 36 runs
    python launch.py --config=configs/text.py:mixture      speeches before and after 1900 in three shares, 18 runs; it
                                                           needs the two stores that docs/text.md makes

FOLDER holds .txt or .jsonl files, which are tokenised as bytes on first use, or is a store made by `vsweep tokenise`.
One file will do; so will `speeches`. Half a megabyte is the least, and with 4 MB nothing is repeated. `bpe` and `full`
need the package tokenizers, and `full` the package datasets and network access once. They read stores, made by

    vsweep tokenise vsweep/corpus/speeches/speeches.jsonl.xz --train-bpe 1024 --out corpora/speeches-bpe1024
    vsweep tokenise hf:allenai/c4:en --train-bpe 4096 --max-tokens 3e8 --out corpora/c4-bpe4096

Another place is `--config.task.corpus=STORE`.

Cost, by estimate (`--plan` says it for your machine): `smoke` under a minute, most of it compiling; `laptop` about 9
minutes on two quiet CPU cores, `mycorpus` and `bpe` less, `repeat` about 5 and `mixture` about 2; `full` 1.5e17 FLOP,
so hours on one GPU. Its store holds 1.4 GB of text: half an hour of tokenising at 0.8 MB/s.

Expect: `val_loss` in nats per byte falls from about 6 to about 1.4. Equal probabilities give ln 256 = 5.5. task.json
has the losses of models that know nothing but how often bytes and pairs of bytes occur, about 3.0 and 2.4 in English.
The first to fall below the second are the widest. Nobody knows the entropy of text, so E is fitted. runs.csv has bits
per byte too, which compare `bpe` with `laptop`: both hold out the same speeches.

The lr falls with the square root of the width, by a pilot with three widths of bytes (docs/pilot.md). `full` goes on
from its widest model with 1 / width. No pilot has been trained for `bpe` and `full`.
"""

from ml_collections import ConfigDict

from vsweep.config import default_dict

LR = "0.064 / width ** 0.5"  # docs/pilot.md
BUDGETS = tuple(250_000 * 2**doubling for doubling in range(5))


def get_config(variant: str = "mycorpus") -> ConfigDict:
    of_bytes = {"laptop": laptop, "smoke": smoke, "mycorpus": mycorpus, "repeat": repeat, "mixture": mixture}
    variants = {**of_bytes, "bpe": bpe, "full": full}
    if variant not in variants:
        raise ValueError(f"unknown variant {variant!r}; allowed: {', '.join(variants)}")
    config = ConfigDict(default_dict())
    config.name = f"text-{variant}"
    config.task.name = "text"
    config.task.corpus = "speeches"
    config.task.context = 64
    config.model.layers = 2
    config.model.head_dim = 8
    config.model.dropout = 0.0
    config.optimizer.lr = LR
    config.optimizer.beta2 = 0.95
    config.optimizer.weight_decay = 0.0
    config.optimizer.warmup_steps = 20
    config.train.batch_size = 16
    variants[variant](config)
    return config


def laptop(config: ConfigDict) -> None:
    config.model.head_dim = "8 - width % 8 // 2"  # 8 divides all widths but 12, whose two heads have 6
    config.train.curve_examples = 64
    config.train.final_examples = 768
    config.sweep.width = (8, 12, 16, 24, 32, 48)
    config.sweep.budget = BUDGETS
    config.sweep.seed = (0, 1)


def smoke(config: ConfigDict) -> None:
    config.task.context = 32
    config.model.layers = 1
    config.optimizer.warmup_steps = 5
    config.train.curve_examples = 64
    config.train.final_examples = 256
    config.sweep.width = (8, 16)
    config.sweep.budget = (20_000, 40_000, 80_000)
    config.sweep.seed = (0, 1)


def mycorpus(config: ConfigDict) -> None:
    config.train.curve_examples = 64
    config.train.final_examples = 320
    config.sweep.width = (8, 16, 24, 32, 48)
    config.sweep.budget = BUDGETS
    config.sweep.seed = (0, 1)


def bpe(config: ConfigDict) -> None:
    laptop(config)
    config.task.corpus = "corpora/speeches-bpe1024"
    config.sweep.budget = tuple(budget // 2 for budget in BUDGETS)  # 2M tokens are two thirds of the speeches


def full(config: ConfigDict) -> None:
    config.task.corpus = "corpora/c4-bpe4096"
    config.task.context = 256
    config.model.layers = 6
    config.model.head_dim = 32
    config.optimizer.lr = "0.35 / width"
    config.optimizer.warmup_steps = 200
    config.train.batch_size = 64
    config.train.precision = "bfloat16"
    config.train.matmul_precision = "default"
    config.train.curve_examples = 256
    config.train.final_examples = 2048
    config.sweep.width = (32, 64, 96, 128, 192, 256, 384)
    config.sweep.budget = tuple(16_000_000 * 2**doubling for doubling in range(5))
    config.sweep.seed = (0, 1)


def repeat(config: ConfigDict) -> None:
    config.train.curve_points = 8
    config.train.curve_examples = 64
    config.train.final_examples = 1024
    # 512 steps, 524,288 tokens, 8,192 blocks: with fewer all models stand on the plateau of pairs, and show no law.
    # Wider models memorise, as do all with fewer blocks: their loss rises with the epochs, and the law knows no rise.
    tokens = 512 * config.train.batch_size * config.task.context
    runs = [(unique, tokens * times) for unique in (0, 4096, 2048, 1024) for times in (1, 2, 4)]
    config.sweep.width = (16, 24, 32)
    config.sweep.unique_examples = tuple(unique for unique, _ in runs)  # blocks of 64 tokens; 0: the whole corpus
    config.sweep.budget = tuple(budget for _, budget in runs)
    config.sweep.paired = (("unique_examples", "budget"),)


def mixture(config: ConfigDict) -> None:
    config.task.sources = "early:corpora/early,late:corpora/late"
    config.train.curve_points = 8
    config.train.curve_examples = 64
    config.train.final_examples = 1024
    config.sweep.width = (16, 32)
    config.sweep.budget = (250_000, 500_000, 1_000_000)
    config.sweep.mixture = ("early:0.9,late:0.1", "early:0.5,late:0.5", "early:0.1,late:0.9")
