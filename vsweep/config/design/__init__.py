"""Designs of runs beside the product of axes: compute, ratios, pairs, formulas, explicit and random runs."""
