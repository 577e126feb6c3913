"""Anybody's table: which column is what, in which unit, and which rows are read."""
