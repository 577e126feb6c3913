"""What happens before training: checks, and what an earlier session left behind."""
