"""The configuration of a sweep: its fields, how they are read, and the problems that are found.

A config file needs one name of it: `default_dict()`, every field with its default. It is loaded on first use, so that
the analysis, which needs only `fields`, never imports ml_collections.
"""

__all__ = ["default_dict"]


def __getattr__(name: str):
    if name == "default_dict":
        from vsweep.config.sweep_config import default_dict

        return default_dict
    raise AttributeError(f"module 'vsweep.config' has no attribute {name!r}")
