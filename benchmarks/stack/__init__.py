"""Training many small models: vsweep's stack and what a user would run instead, side by side in one run."""
