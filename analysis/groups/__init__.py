"""A law for each group of runs, side by side."""
