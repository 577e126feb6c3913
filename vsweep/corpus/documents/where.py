"""Conditions on the other fields of a document, which make a source of a corpus: `--where 'lang == "en"'`.

Nothing is evaluated as Python: a condition is a field, a comparison and a JSON value.
"""

import dataclasses
import json
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from vsweep.corpus.problems import refuse

COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
FORM = "FIELD COMPARISON VALUE, such as 'lang == \"en\"' or 'year >= 1900'"


@dataclasses.dataclass(frozen=True)
class Condition:
    """`field comparison value`; texts are compared letter by letter, so `id < "1900"` keeps an id of 1899."""

    field: str
    comparison: str
    value: Any

    @classmethod
    def read(cls, text: str) -> "Condition":
        """Raises ConfigError for what is no condition."""
        match = re.fullmatch(r"\s*(\S+?)\s*(==|!=|<=|>=|<|>)\s*(.+?)\s*", text)
        try:
            if match:
                return cls(match[1], match[2], json.loads(match[3]))
        except ValueError:
            raise refuse("--where", f"{match[3]} is no JSON value", repr(text), f'{FORM}; texts in "..."') from None
        raise refuse("--where", "no condition", repr(text), FORM)

    def keeps(self, row: Mapping[str, Any], place: str) -> bool:
        """Whether a document with the fields of `row` is kept. Raises ConfigError where it cannot be compared."""
        if self.field not in row:
            got, allowed = ", ".join(map(str, row)), "a field of each row"
            raise refuse("--where", f"{place}: no field {self.field!r}", got, allowed)
        found = row[self.field]
        if self.comparison not in ("==", "!=") and _kind(found) != _kind(self.value):
            got, allowed = f"{found!r} {self.comparison} {json.dumps(self.value)}", 'two numbers, or two texts ("1900")'
            raise refuse("--where", f"{place}: field {self.field!r} cannot be compared", got, allowed)
        return COMPARISONS[self.comparison](found, self.value)


def _kind(value: Any) -> type:
    return float if type(value) in (int, float) else type(value)
