"""Loss curves: their means over seeds, and which of many are the lowest."""
