"""What `vsweep tokenise` is asked to do, and all that can be said against it before work begins."""

import dataclasses
from pathlib import Path

from vsweep.config.problems import ConfigError, Problem
from vsweep.corpus import bpe, tokenizers
from vsweep.corpus.bundled import BUNDLED
from vsweep.corpus.documents import files, hub
from vsweep.corpus.documents.files import PARQUET_SUFFIXES, FileSource, Reading
from vsweep.corpus.documents.hub import HubSource
from vsweep.corpus.problems import missing, refuse

Source = FileSource | HubSource
WHOLE_FILES = Reading()


@dataclasses.dataclass(frozen=True)
class Request:
    """Inputs, options and the folder of the store."""

    inputs: tuple[str, ...]  # files, folders, hf:NAME[:SUBSET][@REVISION], bundled corpora; read in this order
    out: Path
    tokenizer: str = "bytes"  # or gpt2, or a JSON file
    ranks: Path | None = None  # of gpt2
    eos: str = ""  # of a JSON file: the token that ends a document
    train_bpe: int = 0  # ids of a tokenizer to be trained, instead of `tokenizer`
    reading: Reading = WHOLE_FILES
    held_out_share: float = 0.05  # of the documents
    split_seed: int = 0
    max_tokens: int = 0  # training tokens after which reading stops, at the end of a document; 0: all

    def sources(self) -> tuple[list[Source], list[Path]]:
        """The inputs in their order, and the files of other kinds in folders, which are not read.

        Raises:
          ConfigError: every problem of the request at once.
        """
        problems, sources, others = self._problems(), [], []
        for text in self.inputs:
            try:
                if text.startswith(hub.PREFIX):
                    sources.append(hub.hub_source(text, self.reading.field, self.reading.where))
                else:
                    path = Path(text) if text not in BUNDLED or Path(text).exists() else BUNDLED[text]
                    found, unknown = files.file_sources(path, self.reading)
                    sources += found
                    others += unknown
            except ConfigError as error:
                problems += error.problems
        if any(isinstance(one, HubSource) for one in sources):
            problems += missing("INPUT", "datasets", f"{hub.PREFIX}NAME")
        if any(one.name.lower().endswith(PARQUET_SUFFIXES) for one in sources if isinstance(one, FileSource)):
            problems += missing("INPUT", "pyarrow", "a .parquet file")
        if problems:
            raise ConfigError(problems)
        return sources, others

    def asked(self, sources: list[Source]) -> dict:
        """As JSON: what must be equal for a store to be continued. Reads every input once for its checksum."""
        trained = {"train_bpe": self.train_bpe}
        return {
            "inputs": [source.facts() for source in sources],
            "tokenizer": trained if self.train_bpe else {"sha256": self.load_tokenizer().digest},
            "reading": self.reading.to_json(),
            "held_out": {"share": self.held_out_share, "seed": self.split_seed},
            "max_tokens": self.max_tokens,
        }

    def load_tokenizer(self) -> tokenizers.Tokenizer:
        """The tokenizer that is there already. Raises ConfigError."""
        return tokenizers.load(self.tokenizer, ranks=self.ranks, eos=self.eos)

    def _problems(self) -> list[Problem | str]:
        problems = [] if self.inputs else [Problem("INPUT", "no input", allowed="files, folders or hf:NAME")]
        if not 0 < self.held_out_share < 1:
            problems.append(
                Problem("--held-out", "not a share", str(self.held_out_share), "between 0 and 1, such as 0.05")
            )
        if not 0 <= self.split_seed < 2**64:
            problems.append(Problem("--split-seed", "out of range", str(self.split_seed), "0 to 2^64 - 1"))
        if self.max_tokens < 0:
            problems.append(Problem("--max-tokens", "negative", str(self.max_tokens), "1 or more, or 0 for all"))
        if self.train_bpe:
            return problems + self._bpe_problems()
        return problems + tokenizers.problems_of(self.tokenizer, ranks=self.ranks, eos=self.eos)

    def _bpe_problems(self) -> list[Problem | str]:
        problems = missing("--train-bpe", "tokenizers", "training a tokenizer")
        if not bpe.SMALLEST <= self.train_bpe <= bpe.LARGEST:
            allowed = f"{bpe.SMALLEST} to {bpe.LARGEST:,} ids"
            problems += refuse("--train-bpe", "out of range", self.train_bpe, allowed).problems
        given = {"--tokenizer": self.tokenizer != "bytes", "--ranks": self.ranks, "--eos": self.eos}
        for flag in [flag for flag, value in given.items() if value]:
            problems += refuse(flag, "two tokenizers", f"{flag} and --train-bpe", "one of them").problems
        return problems
