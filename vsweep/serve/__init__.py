"""A page on this machine that shows a sweep while it trains. It only reads: training never waits for it."""
