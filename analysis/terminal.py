"""What `python -m analysis` prints of an analysis, and of groups side by side."""

from vsweep.analysis.formatting import blocks, columns, prose
from vsweep.analysis.groups.report import GroupsResult
from vsweep.analysis.groups.words import table
from vsweep.analysis.result import Result
from vsweep.analysis.sections import law, optimum, runs
from vsweep.analysis.sections.further_laws import one_variable
from vsweep.analysis.uncertainty import verdicts
from vsweep.analysis.uncertainty.approach import assessed, describe_range


def summary(result: Result) -> str:
    """What `analysis` prints: the exponents of all approaches and losses, what is wrong with the runs, the files."""
    lines = [f"! {text}" for text in result.source.warnings]
    lines += list(result.source.notes) if result.source.is_workdir else []
    if result.source.variable:
        about = [finding.text for finding in result.findings if finding.section == one_variable.SECTION.name]
        return "\n".join([*lines, *about, "", f"fits    {result.fits}", f"report  {result.report}"])
    standing = law.standing(result.studies[0])
    lines += [] if standing.verdict == verdicts.DESCRIBES else [f"! {optimum.about_standing(standing)}"]
    lines += [f"! {problem.text}" for problem in result.studies[0].result(runs.SECTION)]
    lines.append(f"{'loss':<12} {'E':<6} {'approach':<17} {'a':>7} {'b':>7}  range of a")
    for study in result.studies:
        for approach in optimum.approaches(study):
            start = f"{study.convention.loss:<12} {study.convention.floor:<6} {approach.method:<17}"
            if approach.refused:
                lines.append(f"{start} refused: {approach.result.reason}")
                continue
            ranges = "; ".join(describe_range(entry, "a") for entry in assessed(approach, "a"))
            lines.append(f"{start} {approach.a:7.3f} {approach.b:7.3f}  {ranges or 'not assessed'}")
    return "\n".join([*lines, "", f"fits    {result.fits}", f"report  {result.report}"])


def groups(result: GroupsResult) -> str:
    """The sentences, the table of all groups with ranges on second lines, and where the files are."""
    shown = table(result.groups, result.found)
    rows = [["\n".join([cell] if isinstance(cell, str) else cell) for cell in row] for row in shown.rows]
    rows = [[*row[:4], "" if row[3] == "refused" else row[4], *row[5:]] for row in rows]
    refused = [f"{row.group}, {row.label}: refused - {row.refused}" for row in result.found.rows if row.refused]
    warnings = [f"! {text}" for group in result.groups.groups for text in group.source.warnings]
    files = [f"groups  {result.file}", f"report  {result.report}"]
    return blocks(warnings, map(prose, [*result.findings, *refused]), [columns(shown.head, rows)], files)
