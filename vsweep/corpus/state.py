"""The folder of a store that is being made: `state.json`, and what may be continued or removed."""

import dataclasses
import json
from pathlib import Path

from vsweep.atomic import TEMPORARY, write_json_atomically, writing
from vsweep.corpus import tokenizers
from vsweep.corpus.problems import refuse
from vsweep.corpus.shards import SplitFacts
from vsweep.corpus.split import SPLITS
from vsweep.corpus.store import FORMAT, MANIFEST, STATE, Store

OURS = {MANIFEST, STATE, tokenizers.RANKS_FILE, tokenizers.JSON_FILE, *(f"{split}.bin" for split in SPLITS)}
LOCKS = {"lock", "lease"}


@dataclasses.dataclass
class State:
    """What `state.json` holds: the position of the next document, and what is valid of each file."""

    asked: dict
    shard_bytes: int
    source: int = 0  # index of the input that is being read
    documents_of_source: int = 0  # read in it, empty ones too
    empty_documents: int = 0
    tokenizer: str = ""  # sha256 of the one whose files are in the store; empty before it is there
    splits: dict[str, SplitFacts] = dataclasses.field(default_factory=lambda: dict.fromkeys(SPLITS, SplitFacts()))

    @staticmethod
    def read(path: Path) -> "State":
        """Raises ConfigError for a damaged file."""
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
            if value.pop("format") != FORMAT:
                raise ValueError("of another version")
            splits = {name: SplitFacts.read(facts) for name, facts in value.pop("splits").items()}
            return State(**value, splits=splits)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise refuse("--out", f"{path} is damaged ({error})", allowed="--restart to begin anew") from None

    def write(self, folder: Path) -> None:
        """In one step. Raises CannotWrite."""
        write_json_atomically(folder / STATE, {"format": FORMAT, **dataclasses.asdict(self)})


def check_folder(folder: Path) -> None:
    """Raises ConfigError unless `folder` is missing, empty, or a store, finished or begun."""
    if folder.exists() and not folder.is_dir():
        raise refuse("--out", "not a folder", folder, "a new folder, or a store")
    names = {path.name for path in folder.iterdir()} if folder.exists() else set()
    names = {name for name in names if not name.endswith(TEMPORARY)} - LOCKS
    is_store = not names.isdisjoint({MANIFEST, STATE})
    if others := sorted(names - OURS if is_store else names):
        got = f"{folder} with {', '.join(others[:3])}"
        raise refuse("--out", "a folder with other files in it", got, "a new folder, or a store")


def remove_store(folder: Path) -> None:
    """Removes the files of a store and nothing else; the mark of a store goes last."""
    with writing(folder):
        for name in sorted(OURS, key=lambda name: name in (MANIFEST, STATE)):
            (folder / name).unlink(missing_ok=True)


def finished_before(folder: Path, asked: dict) -> Store:
    """The complete store in `folder`. Raises ConfigError if it is damaged, or of another request."""
    store = Store.open(folder)
    _check_asked(folder, store.manifest.asked, asked)
    with writing(folder / STATE):
        (folder / STATE).unlink(missing_ok=True)  # of a process that ended right after the manifest
    return store


def begun(folder: Path, asked: dict, shard_bytes: int) -> State:
    """The state in `folder`, or that of a new store, which is written before anything else is.

    Raises:
      ConfigError: it is damaged, or of another request.
    """
    if (folder / STATE).is_file():
        state = State.read(folder / STATE)
        _check_asked(folder, state.asked, asked)
        if state.shard_bytes != shard_bytes:
            raise refuse("--out", "its shards are of another size", state.shard_bytes, f"{shard_bytes}, or --restart")
        return state
    state = State(asked, shard_bytes)
    state.write(folder)
    return state


def _check_asked(folder: Path, before: dict, asked: dict) -> None:
    asked = json.loads(json.dumps(asked))
    if before == asked:
        return
    differing = [name for name in asked if before.get(name) != asked[name]]
    allowed = "the same inputs and options, another --out, or --restart to begin anew"
    raise refuse(
        "--out", f"{folder} is of another request: {_differences(before, asked)}", ", ".join(differing), allowed
    )


def _differences(before: dict, asked: dict) -> str:
    old = {one["name"]: one for one in before.get("inputs", [])}
    new = {one["name"]: one for one in asked["inputs"]}
    if changed := [name for name in new if name in old and old[name] != new[name]]:
        return f"{changed[0]} was changed since"
    if set(old) != set(new):
        return f"{len(old)} inputs then, {len(new)} now"
    return "its options differ"
