"""The page in a real browser: figures, clicks, numbers, and that nothing runs or leaves which should not."""
