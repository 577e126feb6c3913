"""Text as ids and back: `bytes`, `gpt2`, or the JSON file of a `tokenizers` tokenizer.

A store keeps the files of its tokenizer, so it can be read without the place where they came from.
"""

import base64
import hashlib
import importlib.util
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from vsweep.config.problems import ConfigError, Problem
from vsweep.corpus.problems import missing, refuse

RANKS_FILE, JSON_FILE = "gpt2.tiktoken", "tokenizer.json"  # in a store
RANKS_SHA256 = "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930"
RANKS_URL = "https://openaipublic.blob.core.windows.net/encodings/r50k_base.tiktoken"  # the ranks of GPT-2
RANKS_IN_PACKAGES = {"mlx_whisper": "assets/gpt2.tiktoken", "whisper": "assets/gpt2.tiktoken"}
NO_RANKS = "the file of GPT-2's ranks was not found"
HOW_TO_GET_RANKS = (
    "--ranks FILE. The wheel mlx-whisper 0.4.3 holds one, mlx_whisper/assets/gpt2.tiktoken: pip download --no-deps "
    "mlx-whisper==0.4.3. With a network, python -c 'import tiktoken; tiktoken.get_encoding(\"r50k_base\")' puts it "
    "into tiktoken's cache, which is found"
)
GPT2_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"
GPT2_END = "<|endoftext|>"
END_NAMES = (GPT2_END, "<|end_of_text|>", "</s>", "<eos>", "<|eos|>", "[EOS]", "[SEP]")  # tried in this order
PROBE = "A  b\n\tC\r\n é ü 漢字 🙂 <s> Ⅷ 12"  # what a tokenizer that loses nothing gives back


class Tokenizer(Protocol):
    """What a store asks of a tokenizer. `encode` never makes `eos`, which only separates documents."""

    name: str
    vocabulary: int
    eos: int
    eos_token: str  # its name in a JSON file, else empty
    digest: str  # sha256; equal digests give equal ids
    files: Mapping[str, bytes]  # name -> content, what a store keeps of it

    def encode(self, text: str) -> np.ndarray:
        """uint32 or smaller [tokens]."""

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        """The ids of each text, on several cores where the library can."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids` without any `eos`; bytes that are no UTF-8 become the replacement character."""


class ByteTokenizer:
    """The 256 bytes of UTF-8. EOS is 255, a byte that no UTF-8 text contains, so nothing is taken out of the text."""

    name, vocabulary, eos, eos_token = "bytes", 256, 255, ""
    digest = hashlib.sha256(b"utf-8 bytes, eos 255").hexdigest()
    files: Mapping[str, bytes] = {}

    def encode(self, text: str) -> np.ndarray:
        return np.frombuffer(text.encode(), np.uint8)

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        return [self.encode(text) for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        return bytes(int(one) for one in ids if one != self.eos).decode(errors="replace")


class Gpt2Tokenizer:
    """GPT-2's byte pairs by tiktoken, from the bytes of its file of ranks."""

    name, vocabulary, eos, eos_token, digest = "gpt2", 50_257, 50_256, "", RANKS_SHA256

    def __init__(self, ranks: bytes, place: object):
        """Raises ConfigError if `ranks` are not GPT-2's; `place` says where they are from."""
        found = hashlib.sha256(ranks).hexdigest()
        if found != RANKS_SHA256:
            raise refuse(
                "--ranks", f"{place} does not hold GPT-2's ranks", f"sha256 {found[:12]}...", f"{RANKS_SHA256[:12]}..."
            )
        import tiktoken

        self.files = {RANKS_FILE: ranks}
        pairs = (line.split() for line in ranks.splitlines())
        self._encoding = tiktoken.Encoding(
            "gpt2",
            pat_str=GPT2_PATTERN,
            mergeable_ranks={base64.b64decode(token): int(rank) for token, rank in pairs},
            special_tokens={GPT2_END: self.eos},
        )

    def encode(self, text: str) -> np.ndarray:
        return np.asarray(self._encoding.encode_ordinary(text), np.uint16)

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        batch = self._encoding.encode_ordinary_batch(list(texts), num_threads=os.cpu_count() or 1)
        return [np.asarray(ids, np.uint16) for ids in batch]

    def decode(self, ids: Sequence[int]) -> str:
        return self._encoding.decode([int(one) for one in ids if one != self.eos])


class JsonTokenizer:
    """A tokenizer of the library `tokenizers`, from the text of its JSON file; its special tokens are text here."""

    def __init__(self, content: bytes, place: object, eos: str = ""):
        """`eos` names the token that ends a document. Raises ConfigError if there is none, or for a bad file."""
        import tokenizers

        try:
            self._tokenizer = tokenizers.Tokenizer.from_str(content.decode())
        except Exception as error:  # the library raises nothing more specific
            raise refuse("--tokenizer", f"{place} is no tokenizer ({error})", allowed="a tokenizer.json") from None
        self._tokenizer.encode_special_tokens = True  # a document that contains the text of EOS does not end there
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        special = {token.content: id_ for id_, token in self._tokenizer.get_added_tokens_decoder().items()}
        end = eos or next((name for name in END_NAMES if name in special), "")
        if end not in special:
            allowed = f"one of {', '.join(special) or 'none: the tokenizer has no special token'}"
            raise refuse("--eos", f"{place} has no such token to end a document", eos or "none", allowed)
        self.name, self.eos, self.eos_token, self.files = "json", special[end], end, {JSON_FILE: content}
        self.vocabulary = max(self._tokenizer.get_vocab(with_added_tokens=True).values()) + 1
        self.digest = hashlib.sha256(content + end.encode()).hexdigest()

    def encode(self, text: str) -> np.ndarray:
        return np.asarray(self._tokenizer.encode(text, add_special_tokens=False).ids, np.uint32)

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        batch = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.asarray(one.ids, np.uint32) for one in batch]

    def decode(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode([int(one) for one in ids if one != self.eos], skip_special_tokens=False)


def load(name: str, *, ranks: Path | None = None, eos: str = "") -> Tokenizer:
    """The tokenizer `bytes`, `gpt2` or that of a JSON file; `eos` is for the last, `ranks` for gpt2.

    Raises:
      ConfigError: no such tokenizer, a package or the ranks are missing, or a file is not what it should be.
    """
    if problems := problems_of(name, ranks=ranks, eos=eos):
        raise ConfigError(problems)
    if name == "bytes":
        return ByteTokenizer()
    if name == "gpt2":
        path = ranks or find_ranks()
        return Gpt2Tokenizer(path.read_bytes(), path)
    return JsonTokenizer(Path(name).read_bytes(), name, eos)


def problems_of(name: str, *, ranks: Path | None = None, eos: str = "") -> list[Problem]:
    """What can be said against these options before a tokenizer is loaded."""
    is_json = name.endswith(".json")
    packages = {"bytes": "", "gpt2": "tiktoken"}
    package = "tokenizers" if is_json else packages.get(name, "")
    problems = missing("--tokenizer", package, name) if package else []
    kinds = "bytes, gpt2, or a file that ends in .json"
    checks = (
        (is_json or name in packages, Problem("--tokenizer", "no such tokenizer", name, kinds)),
        (not is_json or Path(name).is_file(), Problem("--tokenizer", "no such file", name)),
        (ranks is None or name == "gpt2", Problem("--ranks", f"{name} has no ranks", str(ranks), "--tokenizer gpt2")),
        (name != "gpt2" or ranks or find_ranks(), Problem("--ranks", NO_RANKS, allowed=HOW_TO_GET_RANKS)),
        (ranks is None or ranks.is_file(), Problem("--ranks", "no such file", str(ranks))),
        (not eos or is_json, Problem("--eos", f"{name} has an end of its own", eos, "only with a tokenizer in JSON")),
    )
    return problems + [problem for is_right, problem in checks if not is_right]


def find_ranks() -> Path | None:
    """GPT-2's ranks in tiktoken's cache, or in an installed package that brings them; None if there are none."""
    folder = os.environ.get("TIKTOKEN_CACHE_DIR") or os.environ.get("DATA_GYM_CACHE_DIR")
    cache = Path(folder or Path(tempfile.gettempdir()) / "data-gym-cache")
    places = [cache / hashlib.sha1(RANKS_URL.encode()).hexdigest()]
    for package, inside in RANKS_IN_PACKAGES.items():
        spec = importlib.util.find_spec(package)
        places += [Path(place) / inside for place in (spec.submodule_search_locations if spec else None) or []]
    return next((path for path in places if path.is_file()), None)


def loses_text(tokenizer: Tokenizer) -> bool:
    """Whether a text with blanks, accents and unusual characters does not come back as it was."""
    return tokenizer.decode(tokenizer.encode(PROBE).tolist()) != PROBE


def facts_of(tokenizer: Tokenizer) -> dict[str, object]:
    """What a manifest tells of a tokenizer."""
    return {
        "name": tokenizer.name,
        "vocabulary": tokenizer.vocabulary,
        "eos": tokenizer.eos,
        "eos_token": tokenizer.eos_token,
        "sha256": tokenizer.digest,
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in tokenizer.files.items()},
    }


def of_store(name: str, folder: Path, eos: str = "") -> Tokenizer:
    """The tokenizer that a store was made with, from the files that the store keeps."""
    if name == "json":
        return load(str(folder / JSON_FILE), eos=eos)
    return load(name, ranks=folder / RANKS_FILE if name == "gpt2" else None)
