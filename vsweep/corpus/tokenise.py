"""From documents to a store, in a way that a kill at any point only interrupts.

After each shard, or half a minute, the ids are forced to the disk. Then `state.json` says how far they are valid and
which document comes next. Whoever continues cuts the files there, so the finished store is the same to the byte.
"""

import collections
import dataclasses
import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vsweep.atomic import remove_leftovers, write_bytes_atomically, write_json_atomically, writing
from vsweep.corpus import bpe, shards, tokenizers
from vsweep.corpus.documents.files import Document
from vsweep.corpus.levels import ngram_levels
from vsweep.corpus.problems import refuse
from vsweep.corpus.request import Request, Source
from vsweep.corpus.shards import SplitWriter, split_writers
from vsweep.corpus.split import HELD_OUT, SPLITS, TRAIN, split_of
from vsweep.corpus.state import State, begun, check_folder, finished_before, remove_store
from vsweep.corpus.store import MANIFEST, STATE, Manifest, Store

BATCH_DOCUMENTS, BATCH_BYTES = 1024, 2**20  # tokenised at once
SAVED_EVERY_S = 30.0


@dataclasses.dataclass(frozen=True)
class Note:
    """Something that the user must know."""

    text: str


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far it is; `share` is None where the amount of input is unknown."""

    documents: int
    tokens: int
    text_bytes: int
    share: float | None


@dataclasses.dataclass(frozen=True)
class Saved:
    """Everything up to here is on the disk and will not be done again."""

    shards: int


@dataclasses.dataclass(frozen=True)
class Finished:
    """The store is complete; `new` is false if it had been so before."""

    store: Store
    new: bool


Event = Note | Progress | Saved | Finished


def tokenise(
    request: Request,
    *,
    restart: bool = False,
    shard_bytes: int = shards.SHARD_BYTES,
) -> Iterator[Event]:
    """Makes the store `request.out`, or continues it; the last event is Finished.

    Whoever takes no further event has stopped it. What was Saved is not done again by the same call.
    Two processes must not do this in one folder. The caller sees to that (storage/lock.py).

    Raises:
      ConfigError: every problem of the request at once, a document that is no text, a damaged or another store in
        `request.out`.
      CannotWrite: the disk refused; the same call continues later.
    """
    sources, others = request.sources()
    check_folder(request.out)
    if others:
        yield Note(_left_out(others))
    asked = request.asked(sources)
    if restart:
        remove_store(request.out)
    if (request.out / MANIFEST).is_file():
        yield Finished(finished_before(request.out, asked), new=False)
        return
    state = begun(request.out, asked, shard_bytes)
    remove_leftovers(request.out)
    if not state.tokenizer and request.train_bpe:
        yield Note(f"training a tokenizer of {request.train_bpe:,} ids on the training documents")
    tokenizer = _tokenizer(request, sources, state)
    yield from _notes_on(tokenizer, request)
    work = Work(request, sources, state, tokenizer)
    yield from work.write()
    work.finish()
    yield Finished(Store.open(request.out), new=True)


class Work:
    """The documents that are left, on their way into the files of the splits."""

    def __init__(self, request: Request, sources: list[Source], state: State, tokenizer: tokenizers.Tokenizer):
        self.request, self.sources, self.state, self.tokenizer = request, sources, state, tokenizer
        sizes = [source.size for source in sources]
        self._bytes_before = None if None in sizes else [0, *itertools.accumulate(sizes)]
        self._saved_at = time.monotonic()
        self._saved_shards = 0

    def write(self) -> Iterator[Event]:
        """Tokenises what is left, up to the wanted number of tokens; all is saved then. Raises as `tokenise` does."""
        dtype, state = shards.dtype_of(self.tokenizer.vocabulary), self.state
        with split_writers(self.request.out, dtype, state.shard_bytes, state.splits) as writers:
            self._saved_shards = _whole(writers)
            for batch in _batches(self._documents()):
                is_full = self._add(batch, writers)
                if is_full or self._is_due(writers):
                    yield self._save(writers)
                yield self._progress(batch[-1], writers)
                if is_full:
                    break
            yield self._save(writers)

    def finish(self) -> None:
        """Counts the levels and writes the manifest, which makes the store complete.

        Raises:
          ConfigError: a split has no document.
          CannotWrite: the disk refused.
        """
        state, folder = self.state, self.request.out
        if empty := [split for split in SPLITS if not state.splits[split].documents]:
            count = sum(facts.documents for facts in state.splits.values())
            allowed = (
                "more documents (--separator '\\n\\n' makes one of each paragraph of a .txt), or another --held-out; "
                "with --restart"
            )
            raise refuse("--held-out", f"no document for {' and '.join(empty)}", f"{count} documents in all", allowed)
        dtype = shards.dtype_of(self.tokenizer.vocabulary)
        train, held_out = (np.memmap(folder / f"{split}.bin", dtype, mode="r") for split in (TRAIN, HELD_OUT))
        manifest = Manifest(
            asked=state.asked,
            tokenizer=tokenizers.facts_of(self.tokenizer),
            held_out_share=self.request.held_out_share,
            split_seed=self.request.split_seed,
            shard_bytes=state.shard_bytes,
            splits=state.splits,
            empty_documents=state.empty_documents,
            ngram_nats=ngram_levels(train, held_out, self.tokenizer.vocabulary),
        )
        write_json_atomically(folder / MANIFEST, manifest.to_json())
        with writing(folder / STATE):
            (folder / STATE).unlink()

    def _documents(self) -> Iterator[tuple[int, Document]]:
        """(Index of its source, document) from the state's position on; none if there are tokens enough already."""
        if self._is_enough(self.state.splits[TRAIN].tokens):
            return
        first = self.state.source
        for index in range(first, len(self.sources)):
            skip = self.state.documents_of_source if index == first else 0
            for document in self.sources[index].documents(skip):
                yield index, document

    def _add(self, batch: list[tuple[int, Document]], writers: dict[str, SplitWriter]) -> bool:
        """Appends a batch; whether there are training tokens enough, in which case the rest of it is dropped."""
        texts = [document.text for _, document in batch]
        contents = [_utf8(document) for _, document in batch]
        for (index, document), ids, content in zip(batch, self.tokenizer.encode_batch(texts), contents, strict=True):
            self._step_to(index)
            if not content:
                self.state.empty_documents += 1
                continue
            if (ids == self.tokenizer.eos).any():
                what = f"{document.place}: this tokenizer makes its end of a document from the text itself"
                raise refuse("--eos", what, self.tokenizer.eos_token, "another --eos, or a special token for it")
            split = split_of(content, share=self.request.held_out_share, seed=self.request.split_seed)
            writers[split].add(ids, self.tokenizer.eos, len(content))
            if self._is_enough(writers[TRAIN].facts.tokens):
                return True
        return False

    def _step_to(self, index: int) -> None:
        """One more document of source `index`."""
        if index != self.state.source:
            self.state.source, self.state.documents_of_source = index, 0
        self.state.documents_of_source += 1

    def _is_enough(self, train_tokens: int) -> bool:
        return 0 < self.request.max_tokens <= train_tokens

    def _is_due(self, writers: dict[str, SplitWriter]) -> bool:
        return _whole(writers) > self._saved_shards or time.monotonic() - self._saved_at > SAVED_EVERY_S

    def _save(self, writers: dict[str, SplitWriter]) -> Saved:
        self.state.splits = {split: writer.saved() for split, writer in writers.items()}
        self.state.write(self.request.out)
        self._saved_at, self._saved_shards = time.monotonic(), _whole(writers)
        return Saved(self._saved_shards)

    def _progress(self, last: tuple[int, Document], writers: dict[str, SplitWriter]) -> Progress:
        facts = [writer.facts for writer in writers.values()]
        shares = []
        if self._bytes_before is not None and self._bytes_before[-1]:
            index, document = last
            shares.append((self._bytes_before[index] + document.read_bytes) / self._bytes_before[-1])
        if self.request.max_tokens:
            shares.append(min(1.0, writers[TRAIN].facts.tokens / self.request.max_tokens))
        return Progress(
            documents=sum(one.documents for one in facts),
            tokens=sum(one.tokens for one in facts),
            text_bytes=sum(one.text_bytes for one in facts),
            share=max(shares, default=None),
        )


def _tokenizer(request: Request, sources: list[Source], state: State) -> tokenizers.Tokenizer:
    """Loaded, or trained if the store has none yet; its files are in the store afterwards, and the state knows it."""
    if not request.train_bpe:
        tokenizer = request.load_tokenizer()
    elif state.tokenizer:
        tokenizer = tokenizers.of_store("json", request.out)
    else:
        texts = _training_texts(request, sources)
        tokenizer = tokenizers.JsonTokenizer(bpe.train_bpe(texts, request.train_bpe), "the trained tokenizer")
    if state.tokenizer and tokenizer.digest != state.tokenizer:
        raise refuse("--out", f"the tokenizer in {request.out} was changed", allowed="--restart to begin anew")
    for name, content in tokenizer.files.items():
        write_bytes_atomically(request.out / name, content)
    if not state.tokenizer:
        state.tokenizer = tokenizer.digest
        state.write(request.out)
    return tokenizer


def _training_texts(request: Request, sources: list[Source]) -> list[str]:
    """The first training documents, `bpe.SAMPLE_BYTES` in all; no held-out document is among them."""
    texts, taken = [], 0
    for document in itertools.chain.from_iterable(source.documents() for source in sources):
        content = _utf8(document)
        if split_of(content, share=request.held_out_share, seed=request.split_seed) == TRAIN:
            texts.append(document.text)
            taken += len(content)
        if taken >= bpe.SAMPLE_BYTES:
            break
    return texts


def _notes_on(tokenizer: tokenizers.Tokenizer, request: Request) -> Iterator[Note]:
    if tokenizers.loses_text(tokenizer):
        yield Note(
            "note: this tokenizer does not give every text back as it was (letter case, blanks or rare characters). "
            "Bytes per token count the text before that."
        )
    if request.train_bpe and tokenizer.vocabulary < request.train_bpe:
        yield Note(f"note: the corpus has pairs for {tokenizer.vocabulary:,} ids only, not {request.train_bpe:,}")


def _left_out(others: list[Path]) -> str:
    kinds = collections.Counter(path.suffix or path.name for path in others)
    listed = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(5))
    return f"note: {len(others)} files are of other kinds and are not read: {listed}{', ...' if len(kinds) > 5 else ''}"


def _batches(documents: Iterator[tuple[int, Document]]) -> Iterator[list[tuple[int, Document]]]:
    batch, size = [], 0
    for index, document in documents:
        batch.append((index, document))
        size += len(document.text)
        if len(batch) >= BATCH_DOCUMENTS or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _utf8(document: Document) -> bytes:
    try:
        return document.text.encode()
    except UnicodeEncodeError as error:
        character = ascii(document.text[error.start])
        raise refuse("INPUT", f"{document.place}: half a character, {character}", allowed="valid Unicode") from None


def _whole(writers: dict[str, SplitWriter]) -> int:
    return sum(writer.whole_shards for writer in writers.values())
