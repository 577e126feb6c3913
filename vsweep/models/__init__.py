"""Models: pure functions of one model, unbatched over runs."""
