"""Laws beside L(N, D): of one variable, other columns, repeated data, the best settings and downstream metrics."""
