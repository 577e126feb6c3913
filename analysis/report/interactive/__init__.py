"""What a reader can touch: the numbers and the scripts of the page."""
