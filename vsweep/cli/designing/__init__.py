"""`vsweep design`: a sweep for a compute, or the runs to add to one. `vsweep.analysis.designer` does the reckoning."""
