"""What a reader can touch, without a browser: the scripts and the numbers as the page holds them."""
