"""Small corpora, the same documents in every kind of file, and stores of them."""

import gzip
import importlib.util
import json
import lzma
from pathlib import Path

import numpy as np
import pytest

from vsweep.config.problems import ConfigError
from vsweep.corpus import tokenizers
from vsweep.corpus.request import Request
from vsweep.corpus.store import Store
from vsweep.corpus.tokenise import Finished, tokenise

WORDS = ["the", "a", "of", "nation", "peace", "schön", "漢字", "🙂", "union", "people", "and", "tax\r\n", "war\t", ""]
SHARD_BYTES = 512
RANKS = tokenizers.find_ranks()


def needs(*packages: str):
    """Skips a test, with the reason, where an extra is not installed."""
    absent = [name for name in packages if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(absent), reason=f"needs the extra with {', '.join(absent)}")


needs_ranks = pytest.mark.skipif(RANKS is None, reason="GPT-2's ranks are not in tiktoken's cache")


def texts(count: int = 60, seed: int = 0) -> list[str]:
    """Documents of 1 to 40 words, all different."""
    draw = np.random.default_rng(seed)
    return [f"{number} " + " ".join(draw.choice(WORDS, draw.integers(1, 40))) for number in range(count)]


def write_txt(folder: Path, documents: list[str]) -> Path:
    folder.mkdir(parents=True)
    for number, text in enumerate(documents):
        (folder / f"{number:05}.txt").write_bytes(text.encode())
    return folder


def write_jsonl(path: Path, documents: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = "".join(json.dumps({"text": text, "url": "x"}) + "\n" for text in documents).encode()
    packed = {".gz": lambda: gzip.compress(content, mtime=0), ".xz": lambda: lzma.compress(content)}
    path.write_bytes(packed[path.suffix]() if path.suffix in packed else content)
    return path


def write_parquet(path: Path, documents: list[str]) -> Path:
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"url": ["x"] * len(documents), "text": documents}), path, row_group_size=7)
    return path


def make(request: Request, **options) -> Store:
    """The finished store of a request."""
    *_, last = tokenise(request, **{"shard_bytes": SHARD_BYTES, **options})
    assert isinstance(last, Finished)
    return last.store


def request(folder: Path, *inputs: Path | str, out: str = "store", **options) -> Request:
    return Request(tuple(map(str, inputs)), folder / out, **{"held_out_share": 0.2, **options})


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a store."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def refusal(made) -> str:
    """The message with which a call without arguments is refused."""
    with pytest.raises(ConfigError) as refused:
        made()
    return str(refused.value)
