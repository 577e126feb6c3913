"""Side-by-side measurements against other projects; nothing here is needed to use vsweep."""
