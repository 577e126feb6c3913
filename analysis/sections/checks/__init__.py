"""What would change the answer: a forecast of what was trained, other conventions, other objectives."""
