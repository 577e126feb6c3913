"""The part of docs/config.md about the design of a sweep: a table, and an example of each design."""

import dataclasses

from vsweep.config.design import formula
from vsweep.config.design.options import DESIGN_FIELDS


@dataclasses.dataclass(frozen=True)
class Example:
    """A design: lines of a config file, what they mean, and the same on a command line."""

    title: str
    text: str
    code: str
    flags: str = ""


INTRODUCTION = """\

## sweep: the design of the runs

The section `sweep` holds the axes, which are the fields above with several values. The runs are their product. These
options change which runs there are. `config.json` holds them, so a resume needs nothing else, and each can be
overridden on the command line.

"""
EXAMPLES = (
    Example(
        "Equal compute (IsoFLOP)",
        """\
For each shape and each C, the budget is D = C / (6 N), rounded to the nearest number of whole batches. The convention
says what is counted: `6nd` takes all parameters for N, `6nd_non_embedding` leaves out embeddings and an untied head,
and `counted` takes the counted matmuls of training instead of 6 N D (column `flops_counted`). `runs.csv` has a column
`isoflop` with the C of each run, and run ids hold it: `w16-c1e10`. Label tokens of a batch vary in some tasks, and the
budget uses their mean.

A D below one batch, or one of more than `train.max_epochs`, is refused. With `tokens_per_param_bounds`, runs outside
are left out, and `--plan` says how many and which. The bounds hold for every other design too.""",
        """\
config.sweep.width = (4, 8, 16)
config.sweep.flops = (3e8, 1e9)
config.sweep.flops_convention = "6nd"
config.sweep.tokens_per_param_bounds = (2, 200)""",
        "--config.sweep.flops=3e8,1e9",
    ),
    Example(
        "Tokens per parameter",
        """\
The budget is D = ratio x N, in whole batches. N follows `flops_convention`: with `6nd_non_embedding` it leaves out
embeddings.""",
        """\
config.sweep.width = (4, 8, 16)
config.sweep.tokens_per_param = (5, 20, 80)""",
        "--config.sweep.tokens_per_param=5,20,80",
    ),
    Example(
        "Paired axes",
        """\
Axes of a group have equal length and go together: first with first, second with second. Groups that share an axis are
one group. All other axes are crossed as usual.""",
        """\
config.sweep.width = (4, 8, 16)
config.sweep.layers = (1, 1, 2)
config.sweep.lr = (3e-2, 2e-2, 1e-2)
config.sweep.paired = (("width", "lr"), ("width", "layers"))""",
        '"--config.sweep.paired=width,lr;width,layers"',
    ),
    Example(
        "Values that depend on others",
        f"""\
A field that may be swept, and is a number, may hold a formula: a text with arithmetic (`+ - * / // % **`), the
functions {", ".join(f"`{name}`" for name in formula.FUNCTIONS)}, and names of other fields of the run. It is computed
for each run, and `runs.csv` has the result. A tuple of formulas is an axis.

Formulas of static fields use static fields only. The others may also use the counts
{", ".join(f"`{name}`" for name in formula.COUNTS)}, and `flops`, `tokens_per_param` and `aspect_ratio` where the design
has them. The result for an integer, such as `warmup_steps`, must be whole: use `round`. A budget is rounded. Optional
fields take formulas in the section `sweep` only. A formula is never run as Python.""",
        """\
config.sweep.width = (4, 8, 16)
config.sweep.lr = ("0.1 / width", "0.3 / width")
config.train.budget = "20 * params"
config.optimizer.warmup_steps = "round(0.1 * steps)\"""",
        '"--config.optimizer.lr=0.02 * (width / 16) ** -0.5"',
    ),
    Example(
        "Explicit runs",
        """\
A CSV file with one row for each run. Its columns are fields that may be swept, `flops`, `tokens_per_param` and
`aspect_ratio`. The path is relative to the folder of the config file or to the current one. Its content goes into
`config.json`. If the file is lost, give that `config.json` in its place. Rows can also stand in the config file. The
runs are crossed with the other axes.""",
        """\
config.sweep.runs_csv = [
    {"width": 4, "lr": 3e-2, "budget": 4_000},
    {"width": 8, "lr": 1e-2, "budget": 16_000},
]
config.sweep.seed = (0, 1)""",
        "--config.sweep.runs_csv=my_runs.csv",
    ),
    Example(
        "Random points",
        """\
Points in a box of hyperparameters, drawn by `scipy.stats.qmc`: Sobol points (scrambled), uniform ones, or a Latin
hypercube. A side is (low, high), or (low, high, "log"). The points are crossed with the other axes, and run ids hold
their number: `w8-p3`. Values have six digits. With `sobol` and `uniform`, the first points stay the same when
`random_points` grows.""",
        """\
config.sweep.width = (4, 8)
config.sweep.random = {"lr": (1e-3, 1e-1, "log"), "weight_decay": (1e-5, 1e-2, "log")}
config.sweep.random_points = 32
config.sweep.random_method = "sobol\"""",
        "--config.sweep.random.lr=1e-3,1e-1,log --config.sweep.random_points=32",
    ),
    Example(
        "Layers and the aspect ratio",
        """\
`model.layers` may be swept, or follow from the width: with `model.aspect_ratio` above 0, layers = max(1, round(width /
aspect_ratio)). `sweep.aspect_ratio` is an axis of several ratios.""",
        """\
config.sweep.width = (4, 8, 16)
config.model.aspect_ratio = 8""",
        "--config.sweep.aspect_ratio=4,8",
    ),
)


def markdown() -> str:
    """The section `sweep` of docs/config.md."""
    rows = "".join(f"| {' | '.join(_row(field))} |\n" for field in DESIGN_FIELDS)
    table = f"| option | default | allowed | unit | meaning |\n| --- | --- | --- | --- | --- |\n{rows}"
    return INTRODUCTION + table + "".join(map(_example, EXAMPLES))


def _row(field) -> tuple[str, ...]:
    default = "" if field.default in ((), "") else f"`{field.default}`"
    return f"`{field.name}`", default, field.values.allowed, field.unit, field.meaning


def _example(example: Example) -> str:
    flags = f"\nOn the command line: `{example.flags}`\n"
    return f"\n### {example.title}\n\n{example.text}\n\n```python\n{example.code}\n```\n{flags}"
