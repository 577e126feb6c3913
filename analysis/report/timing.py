"""Where the time of a sweep went, from its times.csv."""

import pandas as pd

from vsweep import schema

# column: what a reader calls it
ACTIVITIES = {name: name.removesuffix("_s") for name in schema.ACTIVITIES}


def rows(times: pd.DataFrame) -> list[list[str]]:
    """One row a stack that has taken any time, and the sum: name, wall time, seconds of each activity."""
    seconds = times.set_index("stack")[list(ACTIVITIES)]
    seconds = seconds[seconds.sum(axis=1) > 0]
    whole = [*seconds.iterrows(), ("all", seconds.sum())]
    return [[str(name), *(f"{value:,.1f}" for value in (row.sum(), *row))] for name, row in whole]


def sentence(times: pd.DataFrame) -> str:
    """Which share of the wall time went where, the largest first; shares below half a percent are left out."""
    seconds = times[list(ACTIVITIES)].sum()
    whole = float(seconds.sum())
    if not whole:
        return "No time has been recorded yet."
    shares = (seconds / whole).sort_values(ascending=False, kind="stable")
    told = ", ".join(f"{ACTIVITIES[name]} {share:.0%}" for name, share in shares.items() if share >= 0.005)
    return f"Of {whole:,.0f} s of wall time: {told}. What ran behind the training is not counted a second time."
