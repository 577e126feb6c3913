"""Markers in `default_dict()` of options that nobody has set. Another task, model or optimizer has no use for them."""

import abc


class Anything(abc.ABC):  # noqa: B024
    """The type of a field of a ConfigDict that holds values of several types: the table of fields says which.

    Not `object`, whose flags ml_collections takes for switches: `--config.train.slots all` would be two words.
    """

    @classmethod
    def __subclasshook__(cls, other: type) -> bool:
        return True


class DefaultInt(int):
    """A whole number that nobody has set."""


class DefaultFloat(float):
    """A number with a point."""


class DefaultText(str):
    """A text."""


class DefaultSwitch(int):
    """A switch: there is no class below bool, so a ConfigDict has to take it as `Anything`."""


UNSET = {int: DefaultInt, float: DefaultFloat, str: DefaultText, bool: DefaultSwitch}
HELD_AS = {bool: Anything, str: Anything}  # by a ConfigDict, which would make a plain text of a `DefaultText`
