"""What is done with finished runs: their text, and their losses on other data."""
