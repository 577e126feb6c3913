"""From a work directory or any table to points in one tidy form."""
