"""The configuration of a sweep: its fields, how they are read, and the problems that are found."""
