"""The configuration of a sweep: its fields, how they are read, and the problems that are found.

A config file needs one name of it: `default_dict()`, every field with its default.
"""

from vsweep.config.sweep_config import default_dict

__all__ = ["default_dict"]
