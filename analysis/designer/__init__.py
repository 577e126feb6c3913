"""Before training: how well would a design of runs tell the exponents of the law apart, and which runs would be better?

`Runs` are a design: its (N, D) and how often each is trained. `Assumption` is the law that the losses are supposed to
follow. `precision.expected` gives the intervals that a fit would have, or why it could not tell.
"""
