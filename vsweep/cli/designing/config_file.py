"""A design as lines of a config, and as a whole config file."""

import json
from collections.abc import Mapping
from pathlib import Path

from vsweep.config.sweep_config import SweepConfig

FILE = '''"""{about}

    vsweep train --config={file}
"""

{imports}from ml_collections import ConfigDict

from vsweep.config import default_dict


def get_config() -> ConfigDict:
    config = ConfigDict(default_dict())
{lines}
    return config
'''


def lines(sweep: Mapping) -> list[str]:
    """What a design sets: `config.sweep.width = (4, 8)`."""
    return [f"config.sweep.{name} = {_literal(value)}" for name, value in sweep.items()]


def text(config: SweepConfig, sweep: Mapping, about: str, file: Path, runs: Path | None = None) -> str:
    """A config file that sets what differs from the defaults, and the design: `sweep`, or explicit `runs` beside it."""
    defaults, values = SweepConfig().to_dict(), config.to_dict()
    set_lines = [f"config.name = {_literal(config.name)}"]
    for section in ("task", "model", "optimizer", "train"):
        names = sorted(values[section], key=lambda name: name != "name")  # what the options belong to comes first
        set_lines += [
            f"config.{section}.{name} = {_literal(values[section][name])}"
            for name in names
            if name not in defaults[section] or values[section][name] != defaults[section][name]
        ]
    beside = [f"config.sweep.runs_csv = str(Path(__file__).with_name({_literal(runs.name)}))"] if runs else []
    body = "\n".join(f"    {line}" for line in [*set_lines, *lines(sweep), *beside])
    return FILE.format(about=about, file=file, imports="from pathlib import Path\n\n" if runs else "", lines=body)


def _literal(value: object) -> str:
    if isinstance(value, list | tuple):
        items = [_literal(item) for item in value]
        return f"({', '.join(items)}{',' if len(items) == 1 else ''})"
    if isinstance(value, str):
        return json.dumps(value)
    short = f"{value:g}" if isinstance(value, float) else ""
    return short if "e" in short and float(short) == value else repr(value)
