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
from vsweep.tasks import corpora, expected
from vsweep.tasks.base import HeldOut
from vsweep.tasks.corpora import CORPUS, ShuffledBlocks, TextSet, is_store, open_corpus, parse_sets, read_set

MOST_TOKENS = 10**15
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
    made_from: str = option(
        "", "what `vsweep tokenise` makes the corpus of: the message that it is missing names it", kind=RESUMABLE
    )
    expected_tokens: int = option(
        0,
        "training tokens of the corpus, for `--plan` before it is there",
        unit="tokens",
        allowed=f"an integer from 0 to {MOST_TOKENS:.0e} (0: the corpus must be there)",
        test=lambda n: 0 <= n <= MOST_TOKENS,
        kind=RESUMABLE,
    )
    sources: str = option(
        "", "further corpora that train.mixture may name, name:folder,...; `corpus` is the main one", kind=RESUMABLE
    )
    more_held_out: str = option("", "further held-out sets, name:folder,...; of a store its held-out documents")


class Text:
    """Blocks of a corpus."""

    Options = Options

    def __init__(self, options: Options):
        """Raises ConfigError with everything that is wrong with the corpora; texts are tokenised here, once."""
        self.options = options
        if options.made_from and expected.is_missing(options):
            raise ConfigError([expected.problem(options)])
        self.store = open_corpus(options.corpus, options.tokenizer, options.separator)
        self.vocabulary, self.eos = self.store.vocabulary, self.store.eos
        self.sequence_length = options.context + 1
        self.label_tokens = options.context
        self.train_examples = self.store.count_blocks(TRAIN, options.context)
        self._stores, problems = corpora.open_sources(options.sources, self.store, options.tokenizer, options.separator)
        problems += self._read_sets()
        if problems := [*problems, *self._size_problems()]:
            raise ConfigError(problems)

    @classmethod
    def expected(cls, options: Options) -> expected.ExpectedText | None:
        """What a plan needs of a corpus that is not there yet, where the options tell it; else None."""
        told = options.expected_tokens and not options.sources
        return expected.ExpectedText(options) if told and expected.is_missing(options) else None

    def rows(self, examples: np.ndarray) -> np.ndarray:
        """[..., S]: training blocks by number, from the mapped file; those of the sources come after the corpus."""
        if not self._stores:
            return self.store.blocks(TRAIN, examples, self.options.context)
        examples = np.asarray(examples)
        found = np.empty((*examples.shape, self.sequence_length), self.store.dtype)
        for name, numbers in self.sources.items():
            here = (examples >= numbers.start) & (examples < numbers.stop)
            if here.any():
                found[here] = self._store_of(name).blocks(TRAIN, examples[here] - numbers.start, self.options.context)
        return found

    @functools.cached_property
    def sources(self) -> dict[str, range]:
        """The numbers of the blocks of each source: the corpus itself, and then the others; none without others."""
        found, first = {}, 0
        for name in (CORPUS, *self._stores) if self._stores else ():
            found[name] = range(first, first := first + self._store_of(name).count_blocks(TRAIN, self.options.context))
        return found

    def _store_of(self, source: str) -> Store:
        return self.store if source == CORPUS else self._stores[source]

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
        told += [("source", name, self._stores[name].digest) for name in sorted(self._stores)]
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
            **({"sources": self._source_facts()} if self._stores else {}),
            "bytes_per_token": self.bytes_per_token,
            "levels_nats_per_token": dataclasses.asdict(self.store.ngram_nats),
        }

    def problems(self) -> list[str]:
        """Reads every id of the store once and compares the checksums; no other look at the examples is needed."""
        found = []
        for store in (self.store, *self._stores.values()):
            try:
                Store.open(store.folder)
            except ConfigError as error:
                found += [str(problem) for problem in error.problems]
        return found

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

    def _read_sets(self) -> list[Problem | str]:
        """The held-out documents of the sources, and further sets, and what is wrong with them."""
        field = "task.more_held_out"
        folders, problems = parse_sets(self.options.more_held_out, field)
        both = [name for name in folders if name in self._stores]
        problems += [
            Problem(field, "the name of a source, whose losses are measured", name, "other names") for name in both
        ]
        sets = {name: (store.folder, "task.sources") for name, store in self._stores.items()}
        self._sets: dict[str, TextSet] = {}
        for name, (folder, of) in {**sets, **{name: (folder, field) for name, folder in folders.items()}}.items():
            try:
                self._sets[name] = read_set(Path(folder), self.store, self.options.context, of)
            except ConfigError as error:
                problems += error.problems
        return problems

    def _size_problems(self) -> list[Problem]:
        labels, problems = self.options.context, []
        for split in (TRAIN, HELD_OUT):
            if not self.store.count_blocks(split, labels):
                tokens = self.store.manifest.splits[split].tokens
                allowed = f"at most {tokens - 1}, the {split} tokens less one, or a longer corpus"
                problems.append(
                    Problem("task.context", f"longer than all of the {split} documents", str(labels), allowed)
                )
        blocks = [("task.corpus", "", self.train_examples)]
        blocks += [("task.sources", f" of {name}", len(self.sources[name])) for name in self._stores]
        for field, of, count in blocks:
            if count > MOST_BLOCKS:
                allowed = f"at most {MOST_BLOCKS:,}: a longer task.context, or vsweep tokenise --max-tokens"
                problems.append(Problem(field, f"too many blocks{of} to put in order", f"{count:,}", allowed))
            elif of and not count:
                got, allowed = str(labels), "below its number of training tokens, or a longer text"
                problems.append(Problem("task.context", f"longer than all of the training documents{of}", got, allowed))
        return problems

    def _source_facts(self) -> dict:
        """Of each source the training tokens and documents."""
        splits = {name: self._store_of(name).manifest.splits[TRAIN] for name in self.sources}
        return {name: {"tokens": facts.tokens, "documents": facts.documents} for name, facts in splits.items()}
