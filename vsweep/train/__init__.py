"""Training: the step, the stack, the loop and what it records."""
