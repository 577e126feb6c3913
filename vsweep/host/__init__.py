"""The machine: devices, signals, streams and what a person sees."""
