"""The work directory: its lock, its checkpoints and the results inside them."""
