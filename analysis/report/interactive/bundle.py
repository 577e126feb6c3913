"""The scripts of the page: ES modules without a build step, each wrapped into a function of its own.

A page opened from a file can import no other file, so the modules stand in it one after the other. Each `import` and
`export` of the few forms used here becomes a constant. The policy of the page names each script by its hash, and lets
nothing else run.
"""

import base64
import functools
import hashlib
import re
from pathlib import Path

STATIC = Path(__file__).parents[1] / "static"
VENDOR = ("d3.min.js", "plot.umd.min.js")  # in this order, because Plot looks for d3
MAIN = "modules/main.js"
IMPORT = re.compile(r'^import \{ ([\w, ]+) \} from "(\.{1,2}/[\w./]+)";\n', re.MULTILINE)
EXPORT = re.compile(r"^export (?=(?:async )?(?:function|const|class) (\w+))", re.MULTILINE)
SPARED = re.compile(r"^\s*(?://.*\n)?", re.MULTILINE)  # indentation, empty lines and lines of comment: a sixth of all
POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {}; base-uri 'none'; form-action 'none'"
)


@functools.cache
def scripts() -> tuple[str, ...]:
    """What the page runs, in order: the libraries, and the modules."""
    return (*((STATIC / "vendor" / name).read_text(encoding="utf-8") for name in VENDOR), bundled(STATIC / MAIN))


def policy(texts: tuple[str, ...]) -> str:
    """The content security policy of a page with these scripts and no other."""
    return POLICY.format(" ".join(f"'sha256-{_hash(text)}'" for text in texts))


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


def bundled(main: Path) -> str:
    """`main` and every module that it imports, as one script."""
    done: dict[Path, str] = {}
    _add(main.resolve(), done, ())
    return '"use strict";\n' + "".join(done.values())


def _add(path: Path, done: dict[Path, str], under: tuple[Path, ...]) -> None:
    """The module behind all that it imports. Raises ValueError for a circle."""
    if path in done:
        return
    if path in under:
        raise ValueError(f"modules import each other: {[one.name for one in (*under, path)]}")
    text = path.read_text(encoding="utf-8")
    for match in IMPORT.finditer(text):
        _add((path.parent / match[2]).resolve(), done, (*under, path))
    done[path] = _wrapped(path, text)


def _wrapped(path: Path, text: str) -> str:
    names = ", ".join(match[1] for match in EXPORT.finditer(text))
    body = SPARED.sub("", IMPORT.sub(_as_constant, text))
    body = EXPORT.sub("", body)
    left = re.search(r"^(import|export)\b.*|.*</script.*", body, re.MULTILINE)
    if left:
        raise ValueError(f"{path.name}: a form of import, export or text that the page cannot hold: {left[0]}")
    return f"const {_name(path)} = (() => {{\n{body}\nreturn {{ {names} }};\n}})();\n"


def _as_constant(match: re.Match) -> str:
    """`import { a as b } from "./c.js"` as `const { a: b } = module_c`."""
    names = match[1].replace(" as ", ": ")
    return f"const {{ {names} }} = {_name(Path(match[2]))};\n"


def _name(path: Path) -> str:
    return f"module_{path.stem}"
