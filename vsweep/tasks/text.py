"""Language modelling on a corpus: each id predicts the next one, and nobody knows the entropy of the source.

An example is a block of `context` labels: block i begins at id i x context, so each id is a label exactly once an
epoch, and D = steps x batch x context to the token. There is no padding. Held-out blocks come in a fixed random order.
"""

import dataclasses
import functools
import hashlib
import json
import math
from pathlib import Path

import numpy as np

from vsweep.config.field import RESUMABLE
from vsweep.config.problems import ConfigError, Problem
from vsweep.config.registry import option
from vsweep.corpus.split import HELD_OUT, TRAIN
from vsweep.corpus.store import Store
from vsweep.tasks.base import HeldOut
from vsweep.tasks.corpora import ShuffledBlocks, TextSet, is_store, open_corpus, parse_sets, read_set

MOST_BLOCKS = 2**27  # an epoch's order is a permutation of them in memory


@dataclasses.dataclass(frozen=True)
class Options:
    """Of the section `task`."""

    corpus: str = option(
        "speeches",
        "a store made by `vsweep tokenise`, texts that are tokenised on first use, or speeches, which is bundled",
        kind=RESUMABLE,
    )
    context: int = option(
        64, "labels of an example", unit="tokens", allowed="an integer from 1 to 65536", test=lambda n: 1 <= n <= 65_536
    )
    tokenizer: str = option("", "of texts: bytes (the default), gpt2 or a tokenizer.json; a store has its own")
    separator: str = option(
        "", r"what separates documents in a .txt, such as \n\n; default: files, or paragraphs of one"
    )
    more_held_out: str = option("", "further held-out sets, name:folder,...; of a store its held-out documents")


class Text:
    """Blocks of a corpus."""

    Options = Options

    def __init__(self, options: Options):
        """Raises ConfigError with everything that is wrong with the corpora; texts are tokenised here, once."""
        self.options = options
        self.store = open_corpus(options.corpus, options.tokenizer, options.separator)
        self.vocabulary, self.eos = self.store.vocabulary, self.store.eos
        self.sequence_length = options.context + 1
        self.label_tokens = options.context
        self.train_examples = self.store.count_blocks(TRAIN, options.context)
        self._sets, problems = self._more_sets()
        if problems := [*problems, *self._size_problems()]:
            raise ConfigError(problems)

    def rows(self, examples: np.ndarray) -> np.ndarray:
        """[..., S]: training blocks by number, from the mapped file."""
        return self.store.blocks(TRAIN, examples, self.options.context)

    @functools.cached_property
    def held_out(self) -> HeldOut:
        """The blocks of the store's held-out documents."""
        return HeldOut(ShuffledBlocks(self.store, HELD_OUT, self.options.context))

    @functools.cached_property
    def more_held_out(self) -> dict[str, HeldOut]:
        """Further sets by name."""
        return {name: each.held_out for name, each in self._sets.items()}

    @functools.cached_property
    def digest(self) -> str:
        """Of the store, and of further sets."""
        if not self._sets:
            return self.store.digest
        told = [self.store.digest, *((name, self._sets[name].digest) for name in sorted(self._sets))]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()

    @functools.cached_property
    def bytes_per_token(self) -> dict[str, float]:
        """Held-out set -> bytes of text for each of its ids."""
        more = {name: each.bytes_per_token for name, each in self._sets.items()}
        return {HELD_OUT: self.store.bytes_per_token(HELD_OUT), **more}

    @property
    def multiples(self) -> dict[str, tuple[str, float]]:
        """Bits per byte of text, which do not depend on the tokenizer: nats per token / (ln 2 x bytes per token)."""
        names = {name: "" if name == HELD_OUT else f"_{name}" for name in self.bytes_per_token}
        return {
            f"val_bits_per_byte{ending}": (f"val_loss{ending}", 1 / (math.log(2) * self.bytes_per_token[name]))
            for name, ending in names.items()
        }

    def facts(self) -> dict:
        """What a report tells of the corpus: sizes, and the losses of models that count ids or pairs of ids."""
        splits = self.store.manifest.splits
        return {
            "corpus": self.options.corpus,
            "tokenizer": self.store.manifest.tokenizer["name"],
            "vocabulary": self.vocabulary,
            "context": self.options.context,
            "tokens": {split: facts.tokens for split, facts in splits.items()},
            "documents": {split: facts.documents for split, facts in splits.items()},
            "bytes_per_token": self.bytes_per_token,
            "levels_nats_per_token": dataclasses.asdict(self.store.ngram_nats),
        }

    def problems(self) -> list[str]:
        """Reads every id of the store once and compares the checksums; no other look at the examples is needed."""
        try:
            Store.open(self.store.folder)
        except ConfigError as error:
            return [str(problem) for problem in error.problems]
        return []

    def encode(self, text: str) -> list[int]:
        """Ids of `text`; of none the end of a document, after which another begins. Raises ValueError."""
        return self.store.tokenizer.encode(text).tolist() or [self.eos]

    def decode(self, tokens: list[int]) -> str:
        """The text of ids up to the end of the document."""
        ids = [int(token) for token in tokens]
        ids = ids[1:] if ids[:1] == [self.eos] else ids
        return self.store.tokenizer.decode(ids[: ids.index(self.eos)] if self.eos in ids else ids)

    def evaluation_set(self, path: Path) -> tuple[HeldOut, list[str], float]:
        """(blocks, notes, bytes per token) of the held-out documents of a store, or of all documents of texts.

        Raises:
          ConfigError: they cannot be read, have another tokenizer, or are shorter than a block.
        """
        found = read_set(Path(path), self.store, self.options.context, "--data")
        notes = ["note: the held-out documents of that store"] if is_store(Path(path)) else []
        return found.held_out, notes, found.bytes_per_token

    def _more_sets(self) -> tuple[dict[str, TextSet], list[Problem | str]]:
        field = "task.more_held_out"
        folders, problems = parse_sets(self.options.more_held_out)
        found = {}
        for name, folder in folders.items():
            try:
                found[name] = read_set(Path(folder), self.store, self.options.context, field)
            except ConfigError as error:
                problems += error.problems
        return found, problems

    def _size_problems(self) -> list[Problem]:
        labels, problems = self.options.context, []
        for split in (TRAIN, HELD_OUT):
            if not self.store.count_blocks(split, labels):
                tokens = self.store.manifest.splits[split].tokens
                allowed = f"at most {tokens - 1}, the {split} tokens less one, or a longer corpus"
                problems.append(
                    Problem("task.context", f"longer than all of the {split} documents", str(labels), allowed)
                )
        if self.train_examples > MOST_BLOCKS:
            allowed = f"at most {MOST_BLOCKS:,}: a longer task.context, or vsweep tokenise --max-tokens"
            problems.append(
                Problem("task.corpus", "too many blocks to put in order", f"{self.train_examples:,}", allowed)
            )
        return problems
