"""report.html: one self-contained file - styles and figures inside, no script, no request to anywhere."""

import base64
import html

import pandas as pd

from analysis import parametric, times
from analysis.conventions import LABELS as CONVENTION_LABELS
from analysis.conventions import Disagreement, Row, SideBySide
from analysis.describe import NAMES, assessed, describe_range, quantity
from analysis.drawing import Drawing
from analysis.forecast import Forecast
from analysis.points import Refusal, Source
from analysis.quantities import largest_flops
from analysis.study import Approach, LossStudy
from analysis.style import CSS
from analysis.text import count, percent

FORMULAS = (
    ("Parametric law", "L(N, D) = E + A / N^α + B / D^β", "Hoffmann et al. 2022, section 3.3"),
    (
        "Objective, by default",
        "Σ Huber(log(E + A/N^α + B/D^β) − log L), δ = 0.001",
        "Hoffmann et al. 2022, equation 3; Besiroglu et al. 2024",
    ),
    (
        "Compute-optimal path",
        "N_opt = G (C/6)^a, D_opt = (C/6)^b / G, a = β/(α+β), b = α/(α+β), G = (αA / βB)^(1/(α+β))",
        "Hoffmann et al. 2022, equation 4",
    ),
    (
        "Lower envelope",
        "N_opt = k C^a on the lowest of all loss curves, on annealed points if enough sizes have them",
        "section 3.1, ibid.",
    ),
    ("IsoFLOP", "N_opt = k C^a through the interior minima of L(N) at fixed C", "section 3.2, ibid."),
    ("Compute line", "L(C) = (C / C0)^−a through the lower convex hull of all points", "Kaplan et al. 2020"),
    ("Power mean", "E + ((A/N^α)^p + (B/D^β)^p)^(1/p)", "with p = 1/γ Busbridge et al. 2025"),
    ("Kaplan's law", "((Nc/N)^(α_N/α_D) + Dc/D)^α_D", "Kaplan et al. 2020, equation 1.5"),
)
SOURCES = (
    "J. Hoffmann et al. 2022, Training Compute-Optimal Large Language Models, arXiv:2203.15556. "
    "Its own results: a = 0.50 (envelope), 0.49 (IsoFLOP), 0.46 (parametric).",
    "T. Besiroglu, E. Erdil, M. Barnett, J. You 2024, Chinchilla Scaling: A Replication Attempt, arXiv:2404.10102. "
    "It refits the parametric law: α = 0.348, β = 0.366, a = 0.51.",
)
FIRST_LOSSES = ("excess_loss", "loss")  # of a sweep and of a table: shown unfolded
LABELS = {
    "N_opt": "N_opt (parameters)",
    "D_opt": "D_opt (tokens)",
    "tokens_per_param": "D_opt / N_opt",
    "loss_opt": "loss at the optimum",
}
RUN_TABLE = (
    "run_id",
    "status",
    "params",
    "tokens",
    "flops_6nd",
    "loss",
    "val_loss",
    "excess_loss",
    "answer_loss",
    "exact_match",
    "wall_s",
)


def render(
    source: Source,
    studies: list[LossStudy],
    side: SideBySide | None,
    findings: list[str],
    drawings: list[Drawing],
    skipped: list[Refusal],
) -> str:
    """The whole page. Every name and every sentence is escaped; figures are SVG images inside the page."""
    body = [
        f"<h1>{_text(source.title)}</h1>",
        _banner(source),
        _trained(source),
        "<h2>What was found</h2>",
        _findings(source, findings),
        "<h2>Exponents side by side</h2>",
        _exponents(studies),
        _side_by_side(side),
        "<h2>The parametric law in numbers</h2>",
        *(_law(study) for study in studies),
        "<h2>Forecasts</h2>",
        *(_forecast(study) for study in studies),
        "<h2>Figures</h2>",
        *(_figure(drawing) for drawing in drawings),
        _skipped(skipped),
        "<h2>Left out, and refused</h2>",
        *(_left_out(study) for study in studies),
        "<h2>Runs</h2>",
        _runs(source),
        _times(source),
        "<h2>Conventions, formulas, sources</h2>",
        _conventions(studies),
        _formulas(),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(source.title)} - scaling law</title>\n<style>\n{CSS}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in body if part)
        + "\n</main>\n</body>\n</html>\n"
    )


def _text(value: object) -> str:
    return html.escape(str(value))


def _banner(source: Source) -> str:
    done, total = source.count("finished") + source.count("diverged"), len(source.runs)
    if done == total:
        return ""
    finished = source.count("finished")
    return f'<p class="banner">{finished} of {total} runs finished. A partial sweep: the numbers will change.</p>'


def _trained(source: Source) -> str:
    runs = source.runs
    if not source.is_workdir:
        notes = " ".join(source.notes)
        return f"<p>{len(runs)} points from a table of N, D (or C) and loss. {_text(notes)}</p>"
    counts = ", ".join(f"{source.count(status)} {status}" for status in ("finished", "running", "diverged"))
    # Running rows have no wall time yet.
    wall_s = pd.to_numeric(runs["wall_s"]).sum()
    facts = {
        "runs": f"{len(runs)} ({counts})",
        "task": _unique(runs["task"]),
        "widths": _unique(runs["width"]),
        "budgets (tokens)": _unique(runs["budget"]),
        "seeds": f"{runs['seed_block'].nunique()}",
        "device": _unique(runs["device"]),
        "precision": f"{_unique(runs['precision'])}, matmul {_unique(runs['matmul_precision'])}",
        "training time, all runs": _duration(wall_s),
        "versions": _unique(runs["versions"]),
        "trained in one environment": _in_one_environment(runs["inexact_resumes"]),
    }
    return _table(["", ""], [[_text(name), _text(value)] for name, value in facts.items()], head=False)


def _in_one_environment(resumes: pd.Series) -> str:
    if resumes.isna().any():
        return "not recorded"
    moved = int((resumes > 0).sum())
    return f"all but {count(moved, 'run')} (inexact_resumes in runs.csv)" if moved else "all runs"


def _unique(column: pd.Series) -> str:
    values = [f"{value:,}" if isinstance(value, int) else str(value) for value in column.dropna().unique().tolist()]
    return ", ".join(values) or "not recorded"


def _duration(wall_s: float) -> str:
    minutes, seconds = divmod(round(wall_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min {seconds} s" if hours else f"{minutes} min {seconds} s"


def _findings(source: Source, findings: list[str]) -> str:
    """General sentences first, then those of each loss under its name; a sentence names its loss by its beginning."""
    groups: dict[str, list[str]] = {"": []}
    for sentence in findings:
        name, colon, rest = sentence.partition(": ")
        known = colon and name in source.losses
        groups.setdefault(name if known else "", []).append(rest if known else sentence)
    parts = []
    for name, sentences in groups.items():
        items = "".join(f"<li>{_text(sentence[:1].upper() + sentence[1:])}</li>" for sentence in sentences)
        if name in ("", source.losses[0]):
            parts.append((f"<h3>By {_text(name)}</h3>" if name else "") + f"<ul>{items}</ul>")
        else:
            parts.append(f"<details><summary>By {_text(name)}</summary><ul>{items}</ul></details>")
    return "\n".join(parts)


def _exponents(studies: list[LossStudy]) -> str:
    head = ["approach", "a", "range of a", "b", "range of b"]
    parts = []
    for study in studies:
        rows = [[_text(NAMES[found.method].removeprefix("the ")), *_numbers(found)] for found in study.approaches]
        note = f"N_opt ~ C^a, D_opt ~ C^b. {study.convention.describe()}."
        parts.append(_folded(study, f"<p>{_text(note)}</p>" + _table(head, rows), "exponents"))
    return "".join(parts)


def _side_by_side(side: SideBySide | None) -> str:
    """The exponent a of every approach in every convention: one row a convention, one column an approach."""
    if side is None:
        return ""
    methods = list(dict.fromkeys(row.method for row in side.rows))
    found = {(row.size, row.flops, row.method): row for row in side.rows}
    rows = [
        [
            _text(f"{CONVENTION_LABELS[size]}, {CONVENTION_LABELS[flops]}"),
            *(_exponent(found[size, flops, method]) for method in methods),
        ]
        for size, flops in dict.fromkeys((row.size, row.flops) for row in side.rows)
    ]
    sentences = (
        [side.disagreement.reason] if isinstance(side.disagreement, Refusal) else _disagreement(side.disagreement)
    )
    text = " ".join(sentences)
    head = ["a in", *(NAMES[method].removeprefix("the ") for method in methods)]
    return f"<h3>Under every convention, by {_text(side.loss)}</h3>{_table(head, rows)}<p>{_text(text)}</p>"


def _exponent(row: Row) -> str:
    return "refused" if row.a is None else f"{row.a:.3f}"


def _disagreement(found: Disagreement) -> list[str]:
    closed = found.embeddings
    return [found.sentence] if isinstance(closed, Refusal) else [found.sentence, closed.sentence]


def _numbers(approach: Approach) -> list[str]:
    if approach.refused:
        return ["refused", f'<span class="why">{_text(approach.result.reason)}</span>', "", ""]
    return [cell for name in ("a", "b") for cell in _with_ranges(approach, name)]


def _with_ranges(approach: Approach, name: str) -> list[str]:
    """The value of a quantity, and all that is known about its range."""
    ranges = "<br>".join(_text(describe_range(entry, name)) for entry in assessed(approach, name))
    return [_text(quantity(name, approach.quantities[name])), f'<span class="range">{ranges or "not assessed"}</span>']


def _law(study: LossStudy) -> str:
    """Constants and the optimum at the largest compute, with their intervals; folded away but for the first loss."""
    approach = study.approach(parametric.METHOD)
    if approach.refused:
        return ""
    shares = next((entry.seed_share for entry in approach.uncertainty if entry.seed_share), {})
    rows = [
        [
            _text(LABELS.get(name, name)),
            *_with_ranges(approach, name),
            f"{100 * shares[name]:.0f} %" if name in shares else "",
        ]
        for name in approach.quantities
    ]
    head = ["quantity", "value", "range", "of it single seeds"]
    note = f"Optima are for C = {largest_flops(study.points):.3g} FLOP, the largest compute of these runs. Minimised: "
    objective = _text(study.convention.objective.describe())
    return _folded(study, f"<p>{note}{objective}.</p>" + _table(head, rows), "constants and optimum")


def _forecast(study: LossStudy) -> str:
    """Every law's held-out error; folded away but for the first loss."""
    if not isinstance(study.forecast, Forecast):
        return f"<p>{_text(study.convention.loss)}: refused - {_text(study.forecast.reason)}.</p>"
    forecast = study.forecast
    rows = [
        [
            _text(law.law),
            _text(law.formula),
            str(law.parameters),
            _text(percent(law.rms_log)),
            _text(("+" if law.mean_log > 0 else "−") + percent(abs(law.mean_log))),
            _text(percent(law.fitted_rms_log)),
            "" if law.coverage is None else f"{100 * law.coverage:.0f} %",
        ]
        for law in sorted(forecast.laws, key=lambda law: law.rms_log)
    ]
    head = ["law", "L(N, D)", "parameters", "held-out error", "mean error", "error of the fit", "inside 90 % intervals"]
    note = (
        f"Fitted to {forecast.fitted} runs, without {forecast.held_out}, and asked for those {forecast.predicted}; "
        f"the {forecast.yardstick} is {percent(forecast.yardstick_log)}. Errors are root mean squares of log loss; a "
        "mean error above zero means that the law foretells too high a loss."
    )
    return _folded(study, f"<p>{_text(note)}</p>" + _table(head, rows), "forecasts by law")


def _folded(study: LossStudy, content: str, what: str) -> str:
    name = _text(study.convention.loss)
    if study.convention.loss in FIRST_LOSSES:
        return f"<h3>By {name}</h3>{content}"
    return f"<details><summary>By {name}: {what}</summary>{content}</details>"


def _figure(drawing: Drawing) -> str:
    picture = base64.b64encode(drawing.svg).decode("ascii")
    return (
        f'<figure><h3>{_text(drawing.title)}</h3><img alt="{_text(drawing.title)}" '
        f'src="data:image/svg+xml;base64,{picture}"><figcaption>{_text(drawing.caption)} '
        f"Numbers: figures/{_text(drawing.name)}.csv</figcaption></figure>"
    )


def _skipped(skipped: list[Refusal]) -> str:
    if not skipped:
        return ""
    items = "".join(f"<li>{_text(refusal.method)}: {_text(refusal.reason)}</li>" for refusal in skipped)
    return f"<p>Figures not drawn, for they would be empty:</p><ul>{items}</ul>"


def _left_out(study: LossStudy) -> str:
    rows = [[_text(NAMES.get(r.method, r.method)), "refused", _text(r.reason)] for r in study.refusals]
    rows += [[_text(entry.run_id), "left out", _text(entry.reason)] for entry in study.points.exclusions]
    name = _text(study.convention.loss)
    if not rows:
        return f"<p>{name}: every run was used, no fit was refused.</p>"
    counts = f"{count(len(study.points.exclusions), 'run')} left out, {count(len(study.refusals), 'fit')} refused"
    return f"<details><summary>{name}: {counts}</summary>{_table(['what', '', 'why'], rows)}</details>"


def _runs(source: Source) -> str:
    columns = [name for name in RUN_TABLE if name in source.runs]
    rows = [[_cell(value) for value in row] for row in source.runs[columns].astype(object).itertuples(index=False)]
    return f"<details><summary>All {len(rows)} runs</summary>{_table(columns, rows)}</details>"


def _times(source: Source) -> str:
    if source.times is None:
        return ""
    table = _table(["stack", "wall time, s", *times.ACTIVITIES.values()], times.rows(source.times))
    return f"<h2>Where the time went</h2><p>{_text(times.sentence(source.times))}</p>{table}"


def _cell(value: object) -> str:
    if isinstance(value, str):
        return _text(value)
    return "" if pd.isna(value) else f"{value:,}" if isinstance(value, int) else f"{value:.5g}"


def _conventions(studies: list[LossStudy]) -> str:
    items = "".join(f"<li>{_text(study.convention.describe())}</li>" for study in studies)
    text = (
        "Losses in nats a token; D in label tokens; log is natural. E known means that the exact floor was subtracted "
        "and E = 0. Ranges say what was varied. min..max is a spread and no confidence interval; fits to single seeds "
        "use one seed each. Resampled cells and seeds: a bootstrap over (N, D) with all seeds of a cell together, "
        "widened by what resampled seeds vary more than resampled runs. Draws of the scatter between seeds: every cell "
        "stays, and its mean loss moves as its seeds scatter; that knows nothing of the bias of a method."
    )
    return f"<ul>{items}</ul><p>{text}</p>"


def _formulas() -> str:
    rows = [[_text(cell) for cell in row] for row in FORMULAS]
    sources = "".join(f"<li>{_text(source)}</li>" for source in SOURCES)
    return _table(["what", "formula", "source"], rows) + f"<ul>{sources}</ul>"


def _table(columns: list[str], rows: list[list[str]], *, head: bool = True) -> str:
    """A table of cells that are already HTML, in a box that scrolls sideways on a narrow screen."""
    top = "<thead><tr>" + "".join(f"<th>{_text(name)}</th>" for name in columns) + "</tr></thead>" if head else ""
    lines = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table>{top}<tbody>{lines}</tbody></table></div>'
