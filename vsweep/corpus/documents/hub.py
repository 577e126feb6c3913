"""Documents of a data set of the Hugging Face hub, or of a local folder that is laid out like one."""

import dataclasses
import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path

from vsweep.corpus.documents.files import Document
from vsweep.corpus.documents.where import Condition
from vsweep.corpus.problems import refuse

PREFIX = "hf:"
SPLIT = "train"  # of the hub; vsweep takes its held-out documents from it, so that one rule holds for all inputs


@dataclasses.dataclass(frozen=True)
class HubSource:
    """`hf:NAME[:SUBSET][@REVISION]`, streamed in its own order, which is never shuffled."""

    data_set: str
    subset: str
    revision: str
    field: str
    where: tuple[Condition, ...] = ()
    size: None = None  # unknown before it has been read

    @property
    def name(self) -> str:
        """As the manifest shows it."""
        folder = Path(self.data_set)
        shown = folder.name if folder.is_dir() else self.data_set
        return f"{PREFIX}{shown}{self.subset and ':'}{self.subset}"

    def facts(self) -> dict[str, object]:
        """What says that the data set is the same: the sha256 of a folder's files, or the commit on the hub.

        Raises:
          ConfigError: the hub cannot be reached, or has no such data set.
        """
        folder = Path(self.data_set)
        found = _folder_sha256(folder) if folder.is_dir() else self._commit
        return {"name": self.name, "sha256" if folder.is_dir() else "revision": found}

    def documents(self, skip: int = 0) -> Iterator[Document]:
        """The documents in their order, without the first `skip`, which are read again but not tokenised.

        Raises:
          ConfigError: the data set cannot be opened, or a row has no text in the field.
        """
        import datasets

        datasets.disable_progress_bars()
        revision = None if Path(self.data_set).is_dir() else self._commit
        try:
            rows = datasets.load_dataset(
                self.data_set, self.subset or None, split=SPLIT, streaming=True, revision=revision
            )
        except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
            raise self._cannot_open(error) from None
        passed = skip if self.where else 0  # documents that are read again, to see which of them were kept
        skipped = skip - passed
        for number, row in enumerate(rows.skip(skipped) if skipped else rows, skipped + 1):
            place = f"{self.name}, row {number}"
            if not isinstance(row.get(self.field), str):
                got = f"the columns {', '.join(map(str, row))}"
                raise refuse("--field", f"{place}: no text in column {self.field!r}", got, "text in each row")
            if not all(condition.keeps(row, place) for condition in self.where):
                continue
            if passed:
                passed -= 1
                continue
            yield Document(row[self.field], place, 0)

    @functools.cached_property
    def _commit(self) -> str:
        """The commit that `revision` means now; a resume then reads the very same files."""
        import huggingface_hub
        from huggingface_hub import errors

        try:
            return huggingface_hub.HfApi().dataset_info(self.data_set, revision=self.revision or None).sha
        except (OSError, ValueError, errors.HTTPError) as error:
            raise self._cannot_open(error) from None

    def _cannot_open(self, error: Exception):
        allowed = "a data set of the hub that can be reached from here, or a folder laid out like one"
        return refuse("INPUT", f"cannot open {self.name} ({str(error).splitlines()[0]})", allowed=allowed)


def hub_source(text: str, field: str, where: tuple[Condition, ...] = ()) -> HubSource:
    """The source that `hf:NAME[:SUBSET][@REVISION]` means; NAME may be a folder."""
    rest = text.removeprefix(PREFIX)
    if Path(rest).is_dir():
        return HubSource(rest, "", "", field, where)
    rest, _, revision = rest.partition("@")
    name, _, subset = rest.partition(":")
    return HubSource(name, subset, revision, field, where)


def _folder_sha256(folder: Path) -> str:
    """Of the names and contents of all files below `folder`."""
    whole = hashlib.sha256()
    for path in sorted((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.as_posix()):
        with open(path, "rb") as file:
            whole.update(f"{path.relative_to(folder).as_posix()} ".encode())
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()
