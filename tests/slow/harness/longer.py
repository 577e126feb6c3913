"""A sweep that trains for some seconds after its first checkpoint."""

from ml_collections import ConfigDict

from configs import addition


def get_config() -> ConfigDict:
    config = addition.get_config("smoke")
    config.sweep.width = (4,)
    config.sweep.budget = (4_000, 1_500_000)
    config.sweep.seed = (0,)
    return config
