"""The corpora that come with the package, by name."""

from pathlib import Path

BUNDLED = {"speeches": Path(__file__).parent / "speeches" / "speeches.jsonl.xz"}  # its README.md names the source
