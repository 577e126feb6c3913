"""What is wrong with a configuration, as a list of problems."""

import difflib
from collections.abc import Iterable


class ConfigError(ValueError):
    """A configuration that cannot be trained; `problems` lists every reason, one line each.

    `rest` is the configuration with the faulty fields at their defaults, so that later checks can add to the list.
    """

    def __init__(self, problems: list[str], rest: object = None):
        self.problems = list(problems)
        self.rest = rest
        super().__init__("\n".join(self.problems))


def without_repeats(more: list[str], problems: list[str]) -> list[str]:
    """The problems in `more` about fields that `problems` does not name yet."""
    named = {problem.partition(":")[0].rpartition(".")[2] for problem in problems}
    return [problem for problem in more if problem.partition(":")[0].rpartition(".")[2] not in named]


def closest(value: object, allowed: Iterable[str]) -> str:
    """`; did you mean X?` for the allowed word nearest to a mistyped one, or nothing."""
    matches = difflib.get_close_matches(str(value), list(allowed), n=1, cutoff=0.5)
    return f"; did you mean {matches[0]}?" if matches else ""
