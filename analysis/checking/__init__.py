"""Whether new runs lie on the forecast of a law that was fitted before."""
