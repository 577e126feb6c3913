"""Renews the libraries of the page from the npm registry: `make web`.

static/vendor/vendor.json names each with its version, and records licence, address and sha256 of what was taken.
"""

import hashlib
import io
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from vsweep.analysis.report.interactive.bundle import STATIC

FOLDER = STATIC / "vendor"
RECORD = FOLDER / "vendor.json"


def main() -> int:
    """Writes the files of every library, and their hashes into vendor.json. Returns 0."""
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    for library in record:
        files = _packed(f"{library['name']}@{library['version']}")
        for kind in ("file", "licence_file"):
            content = files[f"package/{library[kind]['from']}"]
            (FOLDER / library[kind]["name"]).write_bytes(content)
            library[kind]["sha256"] = hashlib.sha256(content).hexdigest()
        about = json.loads(files["package/package.json"])
        library |= {"licence": about["license"], "address": f"https://registry.npmjs.org/{library['name']}"}
    RECORD.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return 0


def _packed(package: str) -> dict[str, bytes]:
    """Name -> content of every file of an npm package."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", "--silent", package]
        name = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.split()[-1]
        archive = (Path(folder) / name).read_bytes()
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        return {entry.name: files.extractfile(entry).read() for entry in files if entry.isfile()}


if __name__ == "__main__":
    sys.exit(main())
