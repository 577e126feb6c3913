"""What is wrong with a configuration, as a list of problems.

A problem is data: code compares its field, and nothing reads its text again.
"""

import dataclasses
import difflib
from collections.abc import Iterable, Sequence


@dataclasses.dataclass(frozen=True)
class Problem:
    """One thing that is wrong: `field: what - got X; allowed: Y; did you mean Z?`, without the parts that are empty.

    `field` is a field of the config (`model.width`), a flag (`workdir`) or an environment variable.
    """

    field: str
    what: str
    got: str = ""
    allowed: str = ""
    hint: str = ""

    @property
    def name(self) -> str:
        """The field without its section: `width`."""
        return self.field.rpartition(".")[2]

    def __str__(self) -> str:
        got = f" - got {self.got}" if self.got else ""
        allowed = f"; allowed: {self.allowed}" if self.allowed else ""
        hint = f"; did you mean {self.hint}?" if self.hint else ""
        return f"{self.field}: {self.what}{got}{allowed}{hint}"


class ConfigError(ValueError):
    """A configuration that cannot be trained; `problems` lists every reason, and each prints as one line.

    A plain text in the list is a further line of the problem above it, such as one of many differences.
    `rest` is the configuration with the faulty fields at their defaults, so that later checks can add to the list.
    """

    def __init__(self, problems: Sequence[Problem | str], rest: object = None):
        self.problems = list(problems)
        self.rest = rest
        super().__init__("\n".join(map(str, self.problems)))


def without_repeats(more: Iterable[Problem | str], problems: Iterable[Problem | str]) -> list[Problem | str]:
    """The problems in `more` about fields that `problems` does not name yet."""
    named = {problem.name for problem in problems if isinstance(problem, Problem)}
    return [problem for problem in more if not (isinstance(problem, Problem) and problem.name in named)]


def closest(value: object, allowed: Iterable[str]) -> str:
    """The allowed word nearest to a mistyped one, or nothing: the hint of a Problem."""
    return "".join(difflib.get_close_matches(str(value), list(allowed), n=1, cutoff=0.5))
