"""A finished store: the ids of a corpus on disk, mapped into memory and read in blocks.

    store = Store.open("corpora/mine")
    tokens_NxS = store.blocks(TRAIN, np.arange(32), length=64)   # 32 blocks of 65 ids: 64 inputs and their labels

A store is a folder with `manifest.json`, `train.bin`, `held_out.bin` and the files of its tokenizer.
"""

import dataclasses
import functools
import hashlib
import json
from pathlib import Path

import numpy as np

from vsweep.corpus import shards, tokenizers
from vsweep.corpus.levels import NgramLevels
from vsweep.corpus.problems import refuse
from vsweep.corpus.shards import SplitFacts
from vsweep.corpus.split import SPLITS

MANIFEST, STATE = "manifest.json", "state.json"
FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What a finished store says of itself."""

    asked: dict  # inputs with their checksums, and the options that the store was made with
    tokenizer: dict  # name, vocabulary, eos, eos_token, sha256, files (name -> sha256)
    held_out_share: float
    split_seed: int
    shard_bytes: int
    splits: dict[str, SplitFacts]
    empty_documents: int  # in the inputs; they are left out
    ngram_nats: NgramLevels

    @property
    def digest(self) -> str:
        """sha256 of the ids and of what gives them a meaning; the same whatever files the documents came from."""
        told = {
            "format": FORMAT,
            "tokenizer": self.tokenizer["sha256"],
            "shard_bytes": self.shard_bytes,
            "splits": {name: dataclasses.asdict(facts) for name, facts in sorted(self.splits.items())},
        }
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

    def to_json(self) -> dict:
        """What `manifest.json` holds."""
        value = {"format": FORMAT, "digest": self.digest, **dataclasses.asdict(self)}
        return {**value, "checksum": _checksum(value)}

    @staticmethod
    def read(folder: Path) -> "Manifest":
        """Raises ConfigError if there is no finished store in `folder`, or its manifest was changed."""
        path = folder / MANIFEST
        if not path.is_file():
            begun = (folder / STATE).is_file()
            what = "tokenising has not ended here" if begun else "no store of a corpus"
            allowed = "run the same `vsweep tokenise` again" if begun else "a folder made by `vsweep tokenise`"
            raise refuse("corpus", what, folder, allowed)
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
            intact = value.pop("checksum") == _checksum(value)
            form, digest = value.pop("format"), value.pop("digest")
            splits = {name: SplitFacts.read(facts) for name, facts in value.pop("splits").items()}
            manifest = Manifest(**{**value, "splits": splits, "ngram_nats": NgramLevels(**value["ngram_nats"])})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise refuse("corpus", f"{path} is damaged ({error})", allowed="the file as it was written") from None
        if not intact or form != FORMAT or manifest.digest != digest or set(splits) != set(SPLITS):
            raise refuse(
                "corpus", f"{path} was changed, or is of another version", allowed="the file as it was written"
            )
        return manifest


def _checksum(value: dict) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


class Store:
    """A corpus to read: ids by split, and what is known of them. `open` it, which checks it."""

    def __init__(self, folder: Path, manifest: Manifest):
        self.folder, self.manifest = folder, manifest
        self.vocabulary: int = manifest.tokenizer["vocabulary"]
        self.eos: int = manifest.tokenizer["eos"]
        self.dtype = shards.dtype_of(self.vocabulary)
        self.digest = manifest.digest
        self.ngram_nats = manifest.ngram_nats

    @classmethod
    def open(cls, path: str | Path, *, verify: bool = True) -> "Store":
        """The store in folder `path`; `verify` reads all ids once and compares the checksums (about a second a GB).

        Raises:
          ConfigError: there is none, it is unfinished, or a file was changed; the message names the shard.
        """
        store = cls(Path(path), Manifest.read(Path(path)))
        for split, facts in store.manifest.splits.items():
            expected, file = facts.tokens * store.dtype.itemsize, store._file(split)
            if not file.is_file() or file.stat().st_size != expected:
                raise refuse("corpus", f"{file} is missing or has another length", allowed=f"{expected:,} bytes")
            if verify:
                shards.check(file, facts, store.dtype, store.manifest.shard_bytes)
        for name, sha256 in store.manifest.tokenizer["files"].items():
            file = store.folder / name
            if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != sha256:
                raise refuse("corpus", f"{file} is missing or was changed", allowed="the file as it was written")
        return store

    def tokens(self, split: str) -> np.ndarray:
        """The ids [tokens] of a split in `dtype`, read-only and mapped into memory. EOS follows each document."""
        return self._maps[split]

    def count_blocks(self, split: str, length: int) -> int:
        """Blocks of `length` labels in a split; a rest shorter than a block is not used."""
        return (len(self.tokens(split)) - 1) // length

    def block(self, split: str, index: int, length: int) -> np.ndarray:
        """Ids [length + 1] of a block: the first `length` are inputs, the last `length` their labels."""
        return self.blocks(split, np.array([index]), length)[0]

    def blocks(self, split: str, indices: np.ndarray, length: int) -> np.ndarray:
        """Ids [..., length + 1] of the blocks `indices` [...], as a copy. Block i begins at id i x `length`.

        So each id but the first is a label exactly once. Raises IndexError for a block that is not there.
        """
        indices = np.asarray(indices)
        last = self.count_blocks(split, length) - 1
        if indices.size and (indices.min() < 0 or indices.max() > last):
            raise IndexError(f"blocks of {split} are 0 to {last}, got {indices.min()} to {indices.max()}")
        ids = np.asarray(self.tokens(split))  # mapped still, but rows of a memmap are slow to copy
        return np.lib.stride_tricks.sliding_window_view(ids, length + 1)[::length][indices]

    def document_starts(self, split: str) -> np.ndarray:
        """int64 [documents]: where each document begins; it ends with the EOS before the next one."""
        return self._starts[split]

    def document(self, split: str, index: int) -> str:
        """The text of a document; -1 is the last one. Raises IndexError for one that is not there."""
        starts = self.document_starts(split)
        index = range(len(starts))[index]
        end = starts[index + 1] if index + 1 < len(starts) else len(self.tokens(split))
        return self.tokenizer.decode(self.tokens(split)[starts[index] : end].tolist())

    def bytes_per_token(self, split: str) -> float:
        """Bytes of text for each id, EOS among them: a loss in nats per token / (ln 2 x this) is bits per byte."""
        facts = self.manifest.splits[split]
        return facts.text_bytes / facts.tokens

    @functools.cached_property
    def tokenizer(self) -> tokenizers.Tokenizer:
        """The tokenizer that made the ids. Raises ConfigError if its package is missing or its file was changed."""
        told = self.manifest.tokenizer
        tokenizer = tokenizers.of_store(told["name"], self.folder, told["eos_token"])
        if tokenizer.digest != told["sha256"]:
            raise refuse("corpus", f"the tokenizer in {self.folder} was changed", allowed="the file as it was written")
        return tokenizer

    @functools.cached_property
    def _maps(self) -> dict[str, np.ndarray]:
        return {split: np.memmap(self._file(split), self.dtype, mode="r") for split in SPLITS}

    @functools.cached_property
    def _starts(self) -> dict[str, np.ndarray]:
        ends = {split: np.flatnonzero(np.asarray(ids) == self.eos) for split, ids in self._maps.items()}
        return {split: np.append(0, found[:-1] + 1) for split, found in ends.items()}

    def _file(self, split: str) -> Path:
        return self.folder / f"{split}.bin"
