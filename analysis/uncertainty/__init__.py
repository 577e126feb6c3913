"""How far a number may move: resamples and intervals."""
