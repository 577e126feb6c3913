"""From a source to fits.json, figures and report.html; the order in which everything is computed and written."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from analysis import figures, fits_json, report, words
from analysis.drawing import Drawing, save
from analysis.points import FLOP_CONVENTIONS, SIZE_CONVENTIONS, BadTable, Convention, Refusal, Source, load
from analysis.study import LossStudy, study_loss
from vsweep import records


@dataclass(frozen=True)
class Result:
    """What `analyse` made: the fits of each loss, the sentences, and where the files lie."""

    source: Source
    studies: tuple[LossStudy, ...]
    findings: tuple[str, ...]
    out: Path

    @property
    def report(self) -> Path:
        return self.out / "report.html"

    @property
    def fits(self) -> Path:
        return self.out / "fits.json"


def analyse(
    source: str | Path,
    out: str | Path | None = None,
    *,
    bootstrap: int = 200,
    size: str = "params",
    flops: str = "flops_6nd",
) -> Result:
    """Fits the law to a work directory or a table, and writes fits.json, figures/ and report.html into `out`.

    Works on sweeps that are still running: what cannot be fitted yet is refused by name, never raised.

    Args:
      source: a work directory of vsweep, or a CSV with columns N, D, loss or N, C, loss (optionally seed).
      out: where to write; WORKDIR/analysis by default, required for a table.
      bootstrap: resamples of each fit; 0 for none (spreads over seeds are still given).
      size: which N, `params` or `params_non_embedding`.
      flops: which C, `flops_6nd` (6 N D with that N) or `flops_counted`.

    Raises:
      BadTable: the source cannot be read; the message names the file, the column and the rows.
      ValueError: an unknown convention, a negative bootstrap, or a table without `out`.
    """
    loaded = load(source)
    _check_options(loaded, out, bootstrap, size, flops)
    out = Path(out) if out is not None else loaded.path / "analysis"
    studies = [study_loss(loaded, Convention(loss, size, flops), bootstrap=bootstrap) for loss in loaded.losses]
    findings = words.findings(loaded, studies)
    drawings, skipped = _save_figures(loaded, studies, out / "figures")
    records.write_json_atomically(out / "fits.json", fits_json.to_json(loaded, studies, findings, skipped))
    page = report.render(loaded, studies, findings, drawings, skipped)
    records.write_text_atomically(out / "report.html", page)
    return Result(loaded, tuple(studies), tuple(findings), out)


def _check_options(source: Source, out: str | Path | None, bootstrap: int, size: str, flops: str) -> None:
    if bootstrap < 0:
        raise ValueError(f"bootstrap: a number of resamples - got {bootstrap}; allowed 0 or more")
    if size not in SIZE_CONVENTIONS:
        raise ValueError(f"size: unknown convention - got {size!r}; allowed {', '.join(SIZE_CONVENTIONS)}")
    if flops not in FLOP_CONVENTIONS:
        raise ValueError(f"flops: unknown convention - got {flops!r}; allowed {', '.join(FLOP_CONVENTIONS)}")
    if not source.is_workdir and (size, flops) != (SIZE_CONVENTIONS[0], FLOP_CONVENTIONS[0]):
        raise BadTable(f"{source.path}: a table has one N and one C only; leave size and flops at their defaults")
    if out is None and not source.is_workdir:
        raise ValueError("out: a table has no directory of its own - say where to write")


def _save_figures(source: Source, studies: list[LossStudy], folder: Path) -> tuple[list[Drawing], list[Refusal]]:
    """Draws and saves; a figure of an earlier, fuller state that cannot be drawn now is removed with its numbers."""
    drawings, skipped = [], []
    for figure in _figures(source, studies):
        if isinstance(figure, Refusal):
            skipped.append(figure)
            for suffix in (".png", ".svg", ".csv"):
                (folder / f"{figure.method}{suffix}").unlink(missing_ok=True)
        else:
            save(figure, folder)
            drawings.append(figure)
    return drawings, skipped


def _figures(source: Source, studies: list[LossStudy]) -> Iterator[Drawing | Refusal]:
    """All figures of the first loss, and the lines of the answer loss, where a break shows best."""
    yield from figures.all_figures(source, studies[0])
    for study in studies[1:]:
        if study.convention.loss == "answer_loss":
            yield figures.loss_lines(study)
