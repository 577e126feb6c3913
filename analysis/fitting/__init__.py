"""Laws, objectives, and fits of them to points."""
