"""A corpus that is not there yet: what a plan needs to know of it, and the command that makes it.

A corpus of gigabytes should not have to be fetched to learn what a study on it would cost.
"""

import functools
from pathlib import Path
from typing import Protocol

from vsweep import program
from vsweep.config.problems import ConfigError, Problem
from vsweep.corpus import tokenizers
from vsweep.corpus.bundled import BUNDLED

DIGEST = "a corpus that is not there yet"


class Asked(Protocol):
    """Options of the task `text`."""

    corpus: str
    context: int
    tokenizer: str
    made_from: str
    expected_tokens: int


class ExpectedText:
    """The numbers of a corpus of `expected_tokens` training tokens: enough for a plan, and nothing to train on."""

    digest = DIGEST

    def __init__(self, options: Asked):
        """Raises ConfigError for a tokenizer that cannot be read, or fewer tokens than an example has."""
        self.options = options
        self.vocabulary, self.eos = vocabulary_of(options.tokenizer)
        self.sequence_length = options.context + 1
        self.label_tokens = options.context
        self.train_examples = (options.expected_tokens - 1) // options.context
        if not self.train_examples:
            allowed = f"at least {options.context + 1}, those of one example"
            got = str(options.expected_tokens)
            raise ConfigError([Problem("task.expected_tokens", "shorter than task.context", got, allowed)])

    @functools.cached_property
    def notes(self) -> tuple[str, ...]:
        """That the corpus is expected, and how to make it."""
        options = self.options
        what = f"{options.expected_tokens:,} training tokens of {options.tokenizer or 'bytes'}"
        how = f"; {make(options)} makes it" if options.made_from else ""
        return (f"note: {options.corpus} is not there yet, so this plan is for {what} (task.expected_tokens){how}",)


def is_missing(options: Asked) -> bool:
    """Whether nothing is where the corpus should be."""
    return bool(options.corpus) and options.corpus not in BUNDLED and not Path(options.corpus).exists()


def make(options: Asked) -> str:
    """The command that makes the corpus out of `made_from`."""
    words = [program.command("tokenise"), options.made_from, "--tokenizer", options.tokenizer or "bytes"]
    if options.expected_tokens:
        words += ["--max-tokens", _in_short(options.expected_tokens)]
    return " ".join([*words, "--out", options.corpus])


def _in_short(number: int) -> str:
    """1e9 for 1000000000, and all digits of what is no such number."""
    short = f"{number:.0e}".replace("e+0", "e").replace("e+", "e")
    return short if float(short) == number and number >= 1e5 else str(number)


def problem(options: Asked) -> Problem:
    """That the corpus is missing."""
    return Problem("task.corpus", "not there yet", repr(options.corpus), f"what `{make(options)}` writes")


def vocabulary_of(tokenizer: str) -> tuple[int, int]:
    """(vocabulary, EOS) of a tokenizer by name; GPT-2's ranks are not needed. Raises ConfigError for a bad file."""
    known = {"": tokenizers.ByteTokenizer, "bytes": tokenizers.ByteTokenizer, "gpt2": tokenizers.Gpt2Tokenizer}
    found = known.get(tokenizer) or tokenizers.load(tokenizer)
    return found.vocabulary, found.eos
