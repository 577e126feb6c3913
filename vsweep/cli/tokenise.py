"""`vsweep tokenise INPUT... --out STORE`: reads documents once and keeps their ids for training."""

import argparse
import functools
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from vsweep import program
from vsweep.corpus import tokenise
from vsweep.corpus.documents.files import Reading
from vsweep.corpus.documents.where import Condition
from vsweep.corpus.request import Request
from vsweep.corpus.split import HELD_OUT, TRAIN
from vsweep.corpus.state import check_folder
from vsweep.corpus.store import Store
from vsweep.host import ending, interruption
from vsweep.host.progress import PLAIN_LINE_EVERY_S, duration_text, size_text, standard_console
from vsweep.storage.lock import locked

INPUTS = ".txt, .jsonl (both also as .gz or .xz), .parquet, a folder, hf:NAME[:SUBSET][@REVISION], or speeches"
EXAMPLES = """examples:
  {command} speeches/ --out corpora/speeches
  {command} book.txt --separator '\\n\\n' --train-bpe 4096 --out corpora/book
  {command} speeches --where 'id < "1900"' --out corpora/early
  {command} hf:allenai/c4:en --tokenizer gpt2 --max-tokens 1e9 --out corpora/c4
"""


def main(arguments: Sequence[str]) -> int:
    """Prints how far it is, and the facts of the store. Returns 0, or 2, 74 or 75 as every command here does."""
    options = _parser().parse_args(arguments)
    return ending.status(lambda: _tokenise(options), "run the same command again to go on")


def _tokenise(options: argparse.Namespace) -> None:
    request = _request(options)
    request.sources()  # a mistake leaves no folder behind
    check_folder(request.out)
    console = standard_console()
    with interruption.leaving(), locked(request.out, console.print):
        _show(tokenise.tokenise(request, restart=options.restart), console)


def _show(events: Iterator[tokenise.Event], console: Console) -> None:
    say = functools.partial(console.print, highlight=False, markup=False, soft_wrap=True)
    columns = (BarColumn(), TextColumn("{task.fields[status]}"))
    hidden = not console.is_terminal
    with Progress(*columns, console=console, transient=True, auto_refresh=False, disable=hidden) as bar:
        task = bar.add_task("", total=1.0, status="")
        speed, last = Speed(), time.monotonic()
        for event in events:
            match event:
                case tokenise.Note():
                    say(event.text)
                case tokenise.Progress() if not hidden:
                    bar.update(task, completed=event.share or 0.0, status=speed.status(event), refresh=True)
                case tokenise.Progress():
                    status = speed.status(event)
                    if time.monotonic() - last >= PLAIN_LINE_EVERY_S:
                        last = time.monotonic()
                        say(status)
                case tokenise.Finished():
                    say(summary(event.store, new=event.new))


class Speed:
    """Megabytes of text a second, and the time that is left, since the first report."""

    def __init__(self):
        self._begin = time.monotonic()
        self._first: tokenise.Progress | None = None

    def status(self, now: tokenise.Progress) -> str:
        """`3,214 documents, 12.3 MB of text, 45 %, 8.1 MB/s, 12 min to go`; what is not known yet is left out."""
        parts = [f"{now.documents:,} documents", f"{size_text(now.text_bytes)} of text"]
        parts += [] if now.share is None else [f"{now.share:.0%}"]
        if self._first is None:
            self._begin, self._first = time.monotonic(), now
            return ", ".join(parts)
        passed = max(time.monotonic() - self._begin, 1e-6)
        parts.append(f"{(now.text_bytes - self._first.text_bytes) / passed / 1e6:.1f} MB/s")
        if now.share is not None and now.share > (self._first.share or 0.0):
            left = (1 - now.share) / (now.share - (self._first.share or 0.0)) * passed
            parts.append(f"{duration_text(left)} to go")
        return ", ".join(parts)


def summary(store: Store, *, new: bool) -> str:
    """What a person wants to know of a store: sizes, levels, and its digest."""
    manifest, levels = store.manifest, store.ngram_nats
    lines = [f"{store.folder}: {'done' if new else 'complete already'}"]
    for split, name in ((TRAIN, "training"), (HELD_OUT, "held out")):
        facts = manifest.splits[split]
        lines.append(
            f"  {name:<9} {facts.documents:,} documents, {facts.tokens:,} tokens, {size_text(facts.text_bytes)} of "
            f"text, {store.bytes_per_token(split):.3f} bytes per token"
        )
    if manifest.empty_documents:
        lines.append(f"  empty     {manifest.empty_documents:,} documents without text were left out")
    lines.append(f"  tokenizer {manifest.tokenizer['name']}, vocabulary {store.vocabulary:,}")
    lines.append(
        f"  levels    uniform {levels.uniform:.3f}, unigram {levels.unigram:.3f}, bigram {levels.bigram:.3f} nats per "
        "token: the held-out losses of models that know no more than that"
    )
    return "\n".join([*lines, f"  digest    {store.digest}"])


def _request(options: argparse.Namespace) -> Request:
    return Request(
        inputs=tuple(options.inputs),
        out=options.out,
        tokenizer=options.tokenizer,
        ranks=options.ranks,
        eos=options.eos,
        train_bpe=options.train_bpe,
        reading=Reading(options.field, options.separator, tuple(map(Condition.read, options.where))),
        held_out_share=options.held_out,
        split_seed=options.split_seed,
        max_tokens=options.max_tokens,
    )


def _whole_number(text: str) -> int:
    """`1e9` is a number of tokens, too."""
    value = float(text)
    if value != int(value):
        raise ValueError(f"no whole number: {text}")
    return int(text) if text.lstrip("-").isdecimal() else int(value)


def _escaped(text: str) -> str:
    """`\\n` and `\\t` as a shell gives them."""
    return text.replace("\\n", "\n").replace("\\t", "\t")


def _parser() -> argparse.ArgumentParser:
    about = "Reads documents once and keeps their ids in a store. The same command continues after a stop."
    parser = program.parser("tokenise", about, EXAMPLES)
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help=INPUTS)
    parser.add_argument("--out", type=Path, required=True, metavar="STORE", help="folder of the store, new or begun")
    _add_tokenizer(parser)
    reading = parser.add_argument_group("documents")
    reading.add_argument("--field", default="text", help="field of a line, or column, of the text (default: text)")
    separates = r"what separates documents in a .txt, such as '\n\n'; default: each file is one document"
    reading.add_argument("--separator", type=_escaped, default="", metavar="TEXT", help=separates)
    kept = "documents of JSON lines or tables to keep, such as 'lang == \"en\"'; several must all hold"
    reading.add_argument("--where", action="append", default=[], metavar="CONDITION", help=kept)
    reading.add_argument("--held-out", type=float, default=0.05, metavar="SHARE", help="of documents (default: 0.05)")
    reading.add_argument("--split-seed", type=_whole_number, default=0, metavar="N", help="another holds out others")
    enough = "stop after the document that reaches N training tokens"
    reading.add_argument("--max-tokens", type=_whole_number, default=0, metavar="N", help=enough)
    parser.add_argument("--restart", action="store_true", help="remove what is in the store and begin anew")
    return parser


def _add_tokenizer(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("tokenizer")
    group.add_argument("--tokenizer", default="bytes", help="bytes (default), gpt2, or a tokenizer.json")
    trained = "train a byte-level BPE of so many ids on the training documents, and use it"
    group.add_argument("--train-bpe", type=_whole_number, default=0, metavar="IDS", help=trained)
    group.add_argument("--ranks", type=Path, metavar="FILE", help="of gpt2; default: from tiktoken's cache")
    ends = "the token of a tokenizer.json that ends a document"
    group.add_argument("--eos", default="", metavar="TOKEN", help=ends)
