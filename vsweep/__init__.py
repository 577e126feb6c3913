"""vsweep trains every model of a scaling-law study at once and turns that one run into the law.

The public functions are those of `PUBLIC`, with an example each in docs/api.md. Each is loaded on first use:
`import vsweep` loads no library, and `vsweep.analyse`, which needs only the tables, never imports jax.
"""

import importlib
from pathlib import Path

from vsweep._version import __version__

PUBLIC = {  # name -> the module that has it
    "run_sweep": "vsweep.train.sweep",
    "plan_sweep": "vsweep.train.sweep",
    "load_run": "vsweep.saved_run",
    "evaluate_runs": "vsweep.after.evaluation",
    "analyse": "vsweep.analysis",
    "compare": "vsweep.analysis.public",
    "plan_from_law": "vsweep.analysis.public",
    "check": "vsweep.analysis.public",
    "plan_repeated": "vsweep.analysis.public",
    "predict_loss": "vsweep.analysis.public",
    "show": "vsweep.analysis.public",
}
__all__ = ["PUBLIC", "__version__", *PUBLIC]

_HERE = Path(__file__).parent
if not (_HERE / "analysis").is_dir():
    # A checkout, where `analysis` and `configs` stand beside this folder; in an installed package they are inside it.
    # Both are imported as `vsweep.analysis` and `vsweep.configs`, whatever folders of those names a user has.
    __path__.append(str(_HERE.parent))


def __getattr__(name: str):
    if name in PUBLIC:
        return getattr(importlib.import_module(PUBLIC[name]), name)
    raise AttributeError(f"module 'vsweep' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *PUBLIC})
