"""From what a config calls a corpus to its ids: a store, texts that are tokenised on first use, or a bundled corpus."""

import dataclasses
import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vsweep import program
from vsweep.atomic import CannotWrite, writing
from vsweep.config.problems import ConfigError, Problem
from vsweep.corpus import tokenise
from vsweep.corpus.bundled import BUNDLED
from vsweep.corpus.documents.files import TEXT_SUFFIXES, Reading, file_sources
from vsweep.corpus.request import Request
from vsweep.corpus.split import HELD_OUT
from vsweep.corpus.store import MANIFEST, STATE, Store
from vsweep.corpus.tokenizers import Tokenizer
from vsweep.tasks.base import HeldOut, blocks_of

CACHE = "VSWEEP_CACHE"  # environment variable: where texts are kept as ids
CORPUS = "corpus"  # the source that is the corpus itself
PARAGRAPHS = "\n\n"
logger = logging.getLogger(__name__)


def open_corpus(corpus: str, tokenizer: str = "", separator: str = "", *, field: str = "task.corpus") -> Store:
    """The store that `corpus` means: a folder made by `vsweep tokenise`, texts, or the name of a bundled corpus.

    Texts are tokenised once, into a folder of the cache that is named after their content and these options, so changed
    texts are another corpus. `tokenizer` is `bytes` (the default), `gpt2` or a JSON file; `separator` is what separates
    documents in a .txt. Checksums are not compared: `Store.open` does that.

    Raises:
      ConfigError: every problem, about `field`.
      CannotWrite: the cache cannot be written.
    """
    path = Path(corpus)
    if not path.exists() and corpus in BUNDLED:
        path = BUNDLED[corpus]
    try:
        if is_store(path):
            store = Store.open(path, verify=False)
            if problems := _unused(store, tokenizer, separator):
                raise ConfigError(problems)
            return store
        if not corpus or not path.exists():
            raise ConfigError([Problem(field, "no such file or folder", repr(corpus), _allowed())])
        return _tokenised(path, tokenizer or "bytes", separator)
    except ConfigError as error:
        raise ConfigError([_of_field(problem, field) for problem in error.problems]) from error


@dataclasses.dataclass(frozen=True)
class TextSet:
    """Blocks that are only measured on."""

    held_out: HeldOut
    bytes_per_token: float
    digest: str


def read_set(path: Path, own: Store, labels: int, field: str) -> TextSet:
    """The held-out documents of a store, or all documents of texts, as blocks of the tokenizer of `own`.

    Raises:
      ConfigError: they cannot be read, have another tokenizer, or are shorter than a block; about `field`.
    """
    try:
        if is_store(path):
            return _set_of_store(Store.open(path), own, labels, field)
        ids, text_bytes = _ids_of_texts(path, own.tokenizer)
    except ConfigError as error:
        raise ConfigError([_of_field(problem, field) for problem in error.problems]) from error
    if len(ids) <= labels:
        raise ConfigError(
            [Problem(field, "shorter than a block", f"{path} ({len(ids)} tokens)", f"{labels + 1} or more")]
        )
    digest = hashlib.sha256(ids.astype("<i8").tobytes()).hexdigest()
    return TextSet(HeldOut(blocks_of(ids.astype(own.dtype), labels)), text_bytes / len(ids), digest)


def _set_of_store(store: Store, own: Store, labels: int, field: str) -> TextSet:
    ours, theirs = own.manifest.tokenizer, store.manifest.tokenizer
    if ours["sha256"] != theirs["sha256"]:
        got = f"{store.folder} ({theirs['name']})"
        raise ConfigError([Problem(field, "a store of another tokenizer", got, f"that of the corpus ({ours['name']})")])
    if not store.count_blocks(HELD_OUT, labels):
        raise ConfigError([Problem(field, "shorter than a block", str(store.folder), f"{labels + 1} tokens or more")])
    return TextSet(HeldOut(ShuffledBlocks(store, HELD_OUT, labels)), store.bytes_per_token(HELD_OUT), store.digest)


def is_store(path: Path) -> bool:
    """Whether a store is there, finished or begun."""
    return (path / MANIFEST).is_file() or (path / STATE).is_file()


def _ids_of_texts(path: Path, tokenizer: Tokenizer) -> tuple[np.ndarray, int]:
    """(int64 ids [tokens], bytes of text) of all documents, an EOS after each. Raises ConfigError."""
    sources, _ = file_sources(path, Reading())
    parts, size = [np.zeros(0, np.int64)], 0
    for source in sources:
        for document in source.documents():
            size += len(document.text.encode())
            parts += [tokenizer.encode(document.text), np.array([tokenizer.eos])] if document.text else []
    return np.concatenate(parts), size


def cache_folder() -> Path:
    """Where texts are kept as ids: $VSWEEP_CACHE, or vsweep/ in the user's cache."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get(CACHE) or Path(home) / "vsweep") / "corpora"


def _tokenised(path: Path, tokenizer: str, separator: str) -> Store:
    """From the cache, or made now in a folder of its own, which takes its place in one step."""
    separator = separator.replace("\\n", "\n").replace("\\t", "\t")
    paragraphs = not separator and path.is_file() and path.name.lower().endswith(TEXT_SUFFIXES)
    reading = Reading(separator=PARAGRAPHS if paragraphs else separator)
    request = Request((str(path),), cache_folder(), tokenizer, reading=reading)
    asked = request.asked(request.sources()[0])
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
    kept = cache_folder() / f"{path.name.partition('.')[0]}-{digest[:16]}"
    if (kept / MANIFEST).is_file():
        return Store.open(kept, verify=False)
    documents = " A paragraph is a document (task.separator)." if paragraphs else ""
    logger.warning("note: %s is tokenised (%s) into %s.%s", path, tokenizer, kept, documents)
    with writing(kept):
        kept.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{kept.name}-", dir=kept.parent))
    try:
        for event in tokenise.tokenise(dataclasses.replace(request, out=made)):
            if isinstance(event, tokenise.Note):
                logger.warning("%s", event.text)
        _put(made, kept)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return Store.open(kept, verify=False)


def _put(made: Path, kept: Path) -> None:
    """Another process may have made the same meanwhile."""
    try:
        made.rename(kept)
    except OSError as error:
        if not (kept / MANIFEST).is_file():
            raise CannotWrite(error.errno, error.strerror or str(error), kept, 0) from error


def _unused(store: Store, tokenizer: str, separator: str) -> list[Problem]:
    """Options that a store has answered already."""
    made = store.manifest.tokenizer["name"]
    is_same = tokenizer in ("", made) or (made == "json" and tokenizer.endswith(".json"))
    given = [] if is_same else [Problem("task.tokenizer", "the store has a tokenizer", tokenizer, f"none, or {made}")]
    if separator:
        given.append(Problem("task.separator", "the documents of a store are fixed", repr(separator), "none"))
    return given


def _allowed() -> str:
    command = f"{program.command('tokenise')} INPUT... --out FOLDER"
    return f"a store made by `{command}`, a text file or a folder of them, or {', '.join(BUNDLED)}"


def _of_field(problem: Problem | str, field: str) -> Problem | str:
    """The problem, which may name a flag of `vsweep tokenise`, as one of the config."""
    if not isinstance(problem, Problem) or problem.field.startswith("task."):
        return problem
    if problem.field == "--held-out":
        advice = (
            "more documents (task.separator = '\\n\\n' makes one of each paragraph of a .txt), or a store made by "
            f"{program.command('tokenise')} with another --held-out"
        )
        return dataclasses.replace(problem, field=field, allowed=advice)
    where = "task.tokenizer" if problem.field in ("--tokenizer", "--ranks", "--eos") else field
    return dataclasses.replace(problem, field=where)


def open_sources(text: str, own: Store, tokenizer: str, separator: str) -> tuple[dict[str, Store], list[Problem | str]]:
    """The stores of `task.sources`, by name and sorted, and what is wrong with it.

    All have the tokenizer and the split of the corpus `own`, so that no document is held out here and trained on there.
    Options of texts are those of the corpus.
    """
    field = "task.sources"
    folders, problems = parse_sets(text, field)
    stores: dict[str, Store] = {}
    for name, folder in sorted(folders.items()):
        try:
            store = open_corpus(folder, *(("", "") if is_store(Path(folder)) else (tokenizer, separator)), field=field)
        except ConfigError as error:
            problems += error.problems
            continue
        if found := _unlike(name, store, {CORPUS: own, **stores}, field):
            problems += found
        else:
            stores[name] = store
    return stores, problems


def _unlike(name: str, store: Store, others: dict[str, Store], field: str) -> list[Problem]:
    """Why `store` cannot be a source beside `others`, of which the first is the corpus."""
    if name in others:
        return [Problem(field, "the name of the corpus itself", name, "another name")]
    if same := [other for other, its in others.items() if its.digest == store.digest]:
        return [Problem(field, f"the documents of {same[0]}", f"{name}:{store.folder}", "each store once")]
    ours, theirs = others[CORPUS].manifest, store.manifest
    if ours.tokenizer["sha256"] != theirs.tokenizer["sha256"]:
        got, allowed = f"{name} ({theirs.tokenizer['name']})", f"that of the corpus ({ours.tokenizer['name']})"
        return [Problem(field, "a store of another tokenizer", got, allowed)]
    split, its_split = ((each.held_out_share, each.split_seed) for each in (ours, theirs))
    if split != its_split:
        got, allowed = (f"--held-out {share:g} --split-seed {seed}" for share, seed in (its_split, split))
        return [Problem(field, f"another split than that of the corpus, in {name}", got, allowed)]
    return []


def parse_sets(text: str, field: str) -> tuple[dict[str, str], list[Problem]]:
    """`name:folder,name:folder` as name -> folder, and what is wrong with it."""
    found: dict[str, str] = {}
    problems: list[Problem] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, colon, folder = part.partition(":")
        if not (colon and folder and name.isidentifier() and name.isascii() and name[0] != "_" and name != HELD_OUT):
            problems.append(Problem(field, "not a name and a folder", repr(part), "name:folder,..."))
        elif name in found:
            problems.append(Problem(field, "two sets of one name", name, "each name once"))
        else:
            found[name] = folder
    return found, problems


class ShuffledBlocks(Sequence):
    """Blocks of L labels of a split, [N, L + 1] in a fixed random order, read from the store when they are sliced.

    In the order of the store the first blocks would be of its first documents alone.
    """

    ndim = 2

    def __init__(self, store: Store, split: str, labels: int):
        count = store.count_blocks(split, labels)
        self._store, self._split, self._labels = store, split, labels
        self._order = np.random.default_rng([count, labels]).permutation(count)
        self.shape, self.dtype = (count, labels + 1), store.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key):
        if isinstance(key, tuple):
            return self[key[0]][(slice(None), *key[1:])]
        return self._store.blocks(self._split, self._order[key], self._labels)

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)
