"""What is wrong with a corpus, as the list of problems that every door of vsweep shows."""

import importlib.util

from vsweep.config.problems import ConfigError, Problem

TEXT = "pip install tiktoken tokenizers pyarrow"  # the extra `text`
HUB = "pip install datasets"  # the extra `hf`
PACKAGES = {"tiktoken": TEXT, "tokenizers": TEXT, "pyarrow": TEXT, "datasets": HUB}  # package -> how to get it


def missing(field: str, package: str, what: str) -> list[Problem]:
    """A problem if `package`, which `what` needs, is not installed. Nothing is imported."""
    if importlib.util.find_spec(package) is not None:
        return []
    return [Problem(field, f"{what} needs the package {package}", allowed=f"{PACKAGES[package]} first")]


def refuse(field: str, what: str, got: object = "", allowed: str = "") -> ConfigError:
    """The error of one problem, to be raised."""
    return ConfigError([Problem(field, what, str(got), allowed)])
