"""The points of one convention as the columns C, N, D, loss, for other tools."""

import json
from pathlib import Path

import pandas as pd

from vsweep import atomic
from vsweep.analysis.data.points import Points
from vsweep.analysis.tables.formats import PYARROW


def write_four_columns(points: Points, path: str | Path) -> None:
    """Writes C (FLOP), N, D and loss of the finished runs in full precision, for other tools; `read` gives them back.

    The suffix says how: .csv, .tsv, .json, .jsonl, .ndjson, .parquet or .pq.

    Raises:
      ValueError: another suffix, no run to write, or (parquet) pyarrow is not installed.
    """
    path, names = Path(path), {"flops": "C", "params": "N", "tokens": "D", "loss": "loss"}
    if points.table.empty:
        raise ValueError(f"{path}: not written - no finished run has a usable {points.convention.loss}")
    frame = points.table[list(names)].rename(columns=names).astype(float)
    match path.suffix.lower():
        case ".csv" | ".tsv" as suffix:
            separator = "," if suffix == ".csv" else "\t"
            atomic.write_text_atomically(path, frame.to_csv(index=False, sep=separator, lineterminator="\n"))
        case ".json":
            atomic.write_json_atomically(path, frame.to_dict("records"))
        case ".jsonl" | ".ndjson":
            lines = (json.dumps(row, allow_nan=False) + "\n" for row in frame.to_dict("records"))
            atomic.write_text_atomically(path, "".join(lines))
        case ".parquet" | ".pq":
            _write_parquet(frame, path)
        case other:
            raise ValueError(f"{path}: unknown suffix {other!r}; allowed .csv, .tsv, .json, .jsonl, .parquet")


def _write_parquet(frame: pd.DataFrame, path: Path) -> None:
    try:
        content = frame.to_parquet(index=False, engine="pyarrow")
    except ImportError as error:
        raise ValueError(f"{path}: {PYARROW}") from error
    atomic.write_bytes_atomically(path, content)
