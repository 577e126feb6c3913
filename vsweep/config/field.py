"""What a field of a config is: its type, its rule, its meaning, and whether a sweep may vary it."""

import ctypes
import dataclasses
import math
import re
import sys
from collections.abc import Callable
from typing import Any

SLOT_CHOICES = ("packed", "all")
INT32_MAX = 2**31 - 1
FLOAT_MAX = sys.float_info.max
SMALLEST_FLOAT32 = 2.0**-126  # of the normal ones: XLA takes what lies below for 0
DROPOUT_STEPS = 256  # model.Dropout rounds to multiples of 1/256
SEED_OF_RUN = -1
IMPORT_PATH = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*"

# Kinds of fields. A sweep may vary the first two: static fields fix array shapes and programs and so split stacks,
# stacked fields are vectors over the slots of a stack. Optional and splitting fields are one value for all runs unless
# they are swept, and then they have a column of their own: an optional one is stacked, a splitting one splits stacks.
# Of the others, the resumable ones may differ when a sweep that has begun is continued.
STATIC, STACKED, OPTIONAL, SPLITTING = "static", "stacked", "optional", "splitting"
RESUMABLE, FIXED = "resumable", "fixed"


@dataclasses.dataclass(frozen=True)
class Values:
    """The values that a field may take: a type, a test, and the words for both.

    `held` says what the programs make of a value. The test is for both, and no other value may come to mean `off`.
    """

    type: type
    allowed: str
    test: Callable[[Any], bool] = lambda value: True
    held: Callable[[Any], Any] = lambda value: value
    off: object = None
    separator: str = ","  # between the values of an axis, in one text

    def fits_type(self, value: object) -> bool:
        """Whether `value` has the type of the field: an int may be a float, a whole float an int, a bool neither."""
        if self.type is float:
            return isinstance(value, int | float) and not isinstance(value, bool) and not abs(value) > FLOAT_MAX
        if self.type is int:
            whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())  # 1e6 is a budget too
            return whole and not isinstance(value, bool)
        return self.type is object or isinstance(value, self.type)


@dataclasses.dataclass(frozen=True)
class Field:
    """One row of the table. `short` stands before a value in run ids."""

    section: str
    name: str
    default: Any
    values: Values
    meaning: str
    unit: str = ""
    kind: str = FIXED
    short: str | None = None
    of: tuple[str, ...] = ()  # whose option this is, by name; none: a field of every task, model or optimizer

    @property
    def path(self) -> str:
        return f"{self.section}.{self.name}"

    @property
    def swept(self) -> bool:
        """Whether a sweep may vary it."""
        return self.kind in (STATIC, STACKED, OPTIONAL, SPLITTING)


def in_float32(value: float) -> float:
    """What XLA computes with for `value`: the nearest float32, 0 for what is too small to be a normal one."""
    nearest = ctypes.c_float(value).value
    return nearest if abs(nearest) >= SMALLEST_FLOAT32 else 0.0


def dropped(value: float) -> float:
    """What the programs make of a dropout rate: the nearest multiple of 1/256."""
    return round(DROPOUT_STEPS * in_float32(value)) / DROPOUT_STEPS


def whole(low: int, high: int, allowed: str | None = None) -> Values:
    """Whole numbers from `low` to `high`."""
    return Values(int, allowed or f"an integer from {low} to {high}", lambda value: low <= value <= high)


def one_of(choices: tuple[str, ...]) -> Values:
    """One of `choices`."""
    return Values(str, ", ".join(choices), lambda value: value in choices)


def named(choices: tuple[str, ...]) -> Values:
    """One of the built-in ones, or what a user has written."""
    allowed = f"{', '.join(choices)}, or an import path: package.module:Attribute"
    return Values(str, allowed, lambda value: value in choices or bool(re.fullmatch(IMPORT_PATH, value)))


def number(allowed: str, test: Callable[[float], bool]) -> Values:
    """A number that the programs never see."""
    return Values(float, allowed, test)


def float32(allowed: str, test: Callable[[float], bool], **how) -> Values:
    """A number that the programs compute with."""
    return Values(float, allowed, test, **{"held": in_float32, **how})


def is_slots(value: object) -> bool:
    """Whether `value` is a choice of `train.slots`."""
    return value in SLOT_CHOICES or (type(value) in (int, str) and bool(re.fullmatch("[1-9][0-9]*", str(value))))


POSITIVE, NATURAL = whole(1, INT32_MAX), whole(0, INT32_MAX)
STREAM_SEED = whole(SEED_OF_RUN, INT32_MAX, "an integer from 0 (-1: the run's seed)")
SWITCH = Values(bool, "True or False")
ABOVE_0 = float32("a finite number above 0", lambda value: 0 < value < math.inf)
BELOW_1 = float32("a number from 0 to below 1", lambda value: 0 <= value < 1)
LIMIT = number("a finite number from 0 (0: no limit)", lambda value: 0 <= value < math.inf)
