"""What is asked of the two sources of a comparison: their names, and the convention by which each is read."""

from collections.abc import Sequence

from vsweep.analysis.data.source import FLOP_CONVENTIONS, SIZE_CONVENTIONS, Convention, Source


def titles(sources: Sequence[Source]) -> tuple[str, ...]:
    """The names of the folders or files, or whole paths where names are the same."""
    names = tuple(source.title for source in sources)
    return names if len(set(names)) == len(names) else tuple(str(source.path) for source in sources)


def convention_of(
    source: Source,
    *,
    loss: str | None = None,
    size: str = SIZE_CONVENTIONS[0],
    flops: str = FLOP_CONVENTIONS[0],
    floor: float | None = None,
) -> Convention:
    """The convention asked for; `loss` is the first of the source unless it is given, `floor` an E in its unit.

    Raises:
      ValueError: a loss that the source does not have, another N or C of a table, or a floor for a loss that has one.
    """
    if source.variable:
        raise ValueError(f"{source.path}: it has {source.variable} only; a comparison needs two of N, D and C")
    loss = loss or source.losses[0]
    if loss not in source.losses:
        raise ValueError(f"loss: not in {source.path} - got {loss!r}; allowed {', '.join(source.losses)}")
    if not source.is_workdir and (size, flops) != (SIZE_CONVENTIONS[0], FLOP_CONVENTIONS[0]):
        raise ValueError(f"{source.path}: a table has one N and one C only; leave size and flops at their defaults")
    if floor is not None and loss in ("excess_loss", "answer_loss"):
        raise ValueError(f"floor: E of {loss} is known and 0 - leave it out, or use --loss val_loss")
    return Convention(loss, size, flops, given_floor=floor)
