"""What the section `sweep` may hold beside axes: the table of designs, and a design that was read."""

import dataclasses
import math

from vsweep.config.field import NATURAL, Field, Values, number, one_of, whole

CONVENTIONS = ("6nd", "6nd_non_embedding", "counted")
METHODS = ("sobol", "uniform", "latin_hypercube")
SCALES = ("linear", "log")
MOST_POINTS = 100_000
ISOFLOP = "isoflop"  # the column of runs.csv with the compute that a run was designed for
COMPUTE = number("a finite number above 0", lambda value: 0 < value < math.inf)


def _texts(allowed: str) -> Values:
    return Values(object, allowed)


DESIGN_FIELDS = (
    Field(
        "sweep",
        "flops",
        (),
        COMPUTE,
        "an IsoFLOP design: for each shape the budget is D = C / (6 N), in whole batches",
        unit="FLOP",
        short="c",
    ),
    Field("sweep", "flops_convention", "6nd", one_of(CONVENTIONS), "what C and N count (below)"),
    Field(
        "sweep",
        "tokens_per_param",
        (),
        COMPUTE,
        "the budget is this number of tokens for each parameter, in whole batches",
        unit="tokens",
        short="tpp",
    ),
    Field(
        "sweep",
        "tokens_per_param_bounds",
        (),
        COMPUTE,
        "runs with fewer or more tokens for each parameter are left out; --plan says how many",
        unit="tokens",
    ),
    Field("sweep", "aspect_ratio", (), COMPUTE, "values of model.aspect_ratio", short="ar"),
    Field("sweep", "paired", (), _texts("groups of axes of equal length"), "axes that go together instead of crossed"),
    Field(
        "sweep",
        "runs_csv",
        "",
        _texts("a CSV file, its rows, or a config.json with them"),
        "explicit runs: a column a field, a row a run",
    ),
    Field(
        "sweep",
        "random",
        (),
        _texts("field -> (low, high, 'linear' or 'log')"),
        "a box of hyperparameters, in which points are drawn",
        short="p",
    ),
    Field("sweep", "random_points", 0, whole(0, MOST_POINTS), "points in the box"),
    Field("sweep", "random_method", "sobol", one_of(METHODS), "how they are drawn"),
    Field("sweep", "random_seed", 0, NATURAL, "seed of the points"),
)
BY_NAME = {field.name: field for field in DESIGN_FIELDS}
NEEDS = {  # an option -> those of which it needs one
    "flops_convention": ("flops", "tokens_per_param", "tokens_per_param_bounds"),
    "random_points": ("random",),
    "random_method": ("random",),
    "random_seed": ("random",),
    "random": ("random_points",),
}
RATIO_AXES = ("flops", "tokens_per_param", "aspect_ratio")  # crossed with the axes, and like these part of run ids

Row = tuple[tuple[str, object], ...]  # (field, value) of an explicit run


@dataclasses.dataclass(frozen=True)
class Side:
    """One side of the box: the range of a hyperparameter."""

    name: str
    low: float
    high: float
    scale: str = "linear"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Design:
    """What a sweep has beside the product of its axes. Nothing: each run is a point of that product."""

    flops: tuple[float, ...] = ()
    flops_convention: str = "6nd"
    tokens_per_param: tuple[float, ...] = ()
    tokens_per_param_bounds: tuple[float, ...] = ()
    aspect_ratio: tuple[float, ...] = ()
    paired: tuple[tuple[str, ...], ...] = ()
    runs_csv: tuple[Row, ...] = ()
    random: tuple[Side, ...] = ()
    random_points: int = 0
    random_method: str = "sobol"
    random_seed: int = 0

    @property
    def columns(self) -> tuple[str, ...]:
        """The fields that explicit runs give."""
        return tuple(name for name, _ in self.runs_csv[0]) if self.runs_csv else ()

    @property
    def box(self) -> tuple[str, ...]:
        """The fields that are drawn."""
        return tuple(side.name for side in self.random)

    def to_dict(self) -> dict:
        """What is not at its default, as config.json holds it: explicit runs themselves, and not the name of a file."""
        values = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != field.default
        }
        if self.runs_csv:
            values["runs_csv"] = [dict(row) for row in self.runs_csv]
        if self.random:
            values["random"] = {side.name: [side.low, side.high, side.scale] for side in self.random}
        if self.paired:
            values["paired"] = [list(group) for group in self.paired]
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
