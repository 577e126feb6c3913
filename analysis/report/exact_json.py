"""Sources, conventions and studies as JSON, and back, to the last bit.

JSON and not pickle: reading it can make nothing but numbers, text, tables and the dataclasses known here.
"""

import base64
import dataclasses
import functools
import json
import typing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vsweep.analysis.data.source import Convention, Source
from vsweep.analysis.sections import SECTIONS
from vsweep.analysis.sections.base import LossStudy

RESULTS = (typing.get_type_hints(section.compute)["return"] for section in SECTIONS)
ROOTS = (Source, Convention, LossStudy, *RESULTS)
KIND = "kind"  # of every JSON object: what it stands for


def dumps(value: Any) -> str:
    """Raises TypeError for what is neither a dataclass of a study nor made of numbers, text, arrays and tables."""
    return json.dumps(_plain(value))


def loads(text: str | bytes) -> Any:
    """The value that `dumps` wrote, equal to the last bit."""
    return _rich(json.loads(text))


@functools.cache
def known_dataclasses() -> dict[str, type]:
    """Name -> class of every dataclass that the fields of ROOTS may hold, at any depth."""
    known: dict[str, type] = {}
    waiting: list[Any] = list(ROOTS)
    while waiting:
        hint = waiting.pop()
        waiting += typing.get_args(hint)
        if dataclasses.is_dataclass(hint) and hint.__name__ not in known:
            known[hint.__name__] = hint
            waiting += typing.get_type_hints(hint).values()
    return known


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return {KIND: "scalar", "of": _plain(np.asarray(value))}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, tuple):
        return {KIND: "tuple", "of": [_plain(item) for item in value]}
    if isinstance(value, dict):
        return {KIND: "dict", "of": [[_plain(key), _plain(item)] for key, item in value.items()]}
    if isinstance(value, Path):
        return {KIND: "path", "of": str(value)}
    if isinstance(value, np.ndarray) and value.dtype != object:
        data = base64.b64encode(value.tobytes()).decode("ascii")
        return {KIND: "array", "dtype": value.dtype.str, "shape": value.shape, "of": data}
    if isinstance(value, pd.DataFrame):
        columns = [[name, _plain_column(column)] for name, column in value.items()]
        return {KIND: "table", "index": _plain_column(value.index.to_series()), "of": columns}
    if type(value) in known_dataclasses().values():
        fields = [[field.name, _plain(getattr(value, field.name))] for field in dataclasses.fields(value)]
        return {KIND: "dataclass", "name": type(value).__name__, "of": fields}
    raise TypeError(f"not known to exact_json: {type(value)}")


def _plain_column(column: pd.Series) -> dict:
    if isinstance(column.dtype, np.dtype) and column.dtype != object:
        return {KIND: "column", "dtype": None, "of": _plain(column.to_numpy())}
    values = [None if value is pd.NA else value for value in column]
    return {KIND: "column", "dtype": str(column.dtype), "of": _plain(values)}


def _rich(value: Any) -> Any:
    if isinstance(value, list):
        return [_rich(item) for item in value]
    return RICH[value[KIND]](value) if isinstance(value, dict) else value


def _table(value: dict) -> pd.DataFrame:
    index = pd.Index(_rich(value["index"]))
    return pd.DataFrame({name: _rich(column).set_axis(index) for name, column in value["of"]}, index=index)


def _array(value: dict) -> np.ndarray:
    data = base64.b64decode(value["of"])
    return np.frombuffer(data, np.dtype(value["dtype"])).reshape(value["shape"]).copy()


RICH = {
    "scalar": lambda value: _rich(value["of"])[()],
    "tuple": lambda value: tuple(_rich(value["of"])),
    "dict": lambda value: {_rich(key): _rich(item) for key, item in value["of"]},
    "path": lambda value: Path(value["of"]),
    "array": _array,
    "column": lambda value: pd.Series(_rich(value["of"]), dtype=value["dtype"]),
    "table": _table,
    "dataclass": lambda value: known_dataclasses()[value["name"]](**{n: _rich(v) for n, v in value["of"]}),
}
