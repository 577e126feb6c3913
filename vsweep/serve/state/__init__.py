"""What the page knows about a work directory, read from its files."""
