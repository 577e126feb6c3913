"""The contestants that train: vsweep, and what a user would run instead."""
