"""report.html: one self-contained file - styles and figures inside, no script, no request to anywhere.

All of it is built by `markup`, so that text is escaped wherever it comes from.
"""

import base64
from collections.abc import Iterable, Sequence

import pandas as pd
from vsweep.analysis.approaches import parametric
from vsweep.analysis.data.points import Refusal, Source
from vsweep.analysis.formatting import count, percent
from vsweep.analysis.plotting import Drawing
from vsweep.analysis.report import timing
from vsweep.analysis.report.markup import Markup, element, joined, page, void
from vsweep.analysis.report.style import CSS
from vsweep.analysis.sections.conventions import LABELS as CONVENTION_LABELS
from vsweep.analysis.sections.conventions import Disagreement, Row, SideBySide
from vsweep.analysis.sections.forecast import Forecast
from vsweep.analysis.sections.study import Approach, LossStudy
from vsweep.analysis.sections.wording import NAMES, assessed, describe_range, quantity
from vsweep.analysis.uncertainty.estimates import largest_flops

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
) -> Markup:
    """The whole page; figures are SVG images inside it."""
    body = [
        element("h1", source.title),
        _banner(source),
        _trained(source),
        element("h2", "What was found"),
        _findings(source, findings),
        element("h2", "Exponents side by side"),
        _exponents(studies),
        _side_by_side(side),
        element("h2", "The parametric law in numbers"),
        *(_law(study) for study in studies),
        element("h2", "Forecasts"),
        *(_forecast(study) for study in studies),
        element("h2", "Figures"),
        *(_figure(drawing) for drawing in drawings),
        _skipped(skipped),
        element("h2", "Left out, and refused"),
        *(_left_out(study) for study in studies),
        element("h2", "Runs"),
        _runs(source),
        _times(source),
        element("h2", "Conventions, formulas, sources"),
        _conventions(studies),
        _formulas(),
    ]
    return page(f"{source.title} - scaling law", CSS, *(part for part in body if part))


def _banner(source: Source) -> Markup | str:
    done, total = source.count("finished") + source.count("diverged"), len(source.runs)
    if done == total:
        return ""
    finished = source.count("finished")
    text = f"{finished} of {total} runs finished. A partial sweep: the numbers will change."
    return element("p", text, class_="banner")


def _trained(source: Source) -> Markup:
    runs = source.runs
    if not source.is_workdir:
        notes = " ".join(source.notes)
        return element("p", f"{len(runs)} points from a table of N, D (or C) and loss. {notes}")
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
    return _table([], facts.items())


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


def _findings(source: Source, findings: list[str]) -> Markup:
    """General sentences first, then those of each loss under its name; a sentence names its loss by its beginning."""
    groups: dict[str, list[str]] = {"": []}
    for sentence in findings:
        name, colon, rest = sentence.partition(": ")
        known = colon and name in source.losses
        groups.setdefault(name if known else "", []).append(rest if known else sentence)
    parts = []
    for name, sentences in groups.items():
        items = _list(sentence[:1].upper() + sentence[1:] for sentence in sentences)
        if name in ("", source.losses[0]):
            parts.append(joined(element("h3", f"By {name}") if name else "", items))
        else:
            parts.append(_details(f"By {name}", items))
    return joined(*parts, between="\n")


def _exponents(studies: list[LossStudy]) -> Markup:
    head = ["approach", "a", "range of a", "b", "range of b"]
    parts = []
    for study in studies:
        rows = [[NAMES[found.method].removeprefix("the "), *_numbers(found)] for found in study.approaches]
        note = f"N_opt ~ C^a, D_opt ~ C^b. {study.convention.describe()}."
        parts.append(_folded(study, joined(element("p", note), _table(head, rows)), "exponents"))
    return joined(*parts)


def _side_by_side(side: SideBySide | None) -> Markup | str:
    """The exponent a of every approach in every convention: one row a convention, one column an approach."""
    if side is None:
        return ""
    methods = list(dict.fromkeys(row.method for row in side.rows))
    found = {(row.size, row.flops, row.method): row for row in side.rows}
    rows = [
        [
            f"{CONVENTION_LABELS[size]}, {CONVENTION_LABELS[flops]}",
            *(_exponent(found[size, flops, method]) for method in methods),
        ]
        for size, flops in dict.fromkeys((row.size, row.flops) for row in side.rows)
    ]
    sentences = (
        [side.disagreement.reason] if isinstance(side.disagreement, Refusal) else _disagreement(side.disagreement)
    )
    text = " ".join(sentences)
    head = ["a in", *(NAMES[method].removeprefix("the ") for method in methods)]
    title = element("h3", f"Under every convention, by {side.loss}")
    return joined(title, _table(head, rows), element("p", text))


def _exponent(row: Row) -> str:
    return "refused" if row.a is None else f"{row.a:.3f}"


def _disagreement(found: Disagreement) -> list[str]:
    closed = found.embeddings
    return [found.sentence] if isinstance(closed, Refusal) else [found.sentence, closed.sentence]


def _numbers(approach: Approach) -> list[str]:
    if approach.refused:
        return ["refused", element("span", approach.result.reason, class_="why"), "", ""]
    return [cell for name in ("a", "b") for cell in _with_ranges(approach, name)]


def _with_ranges(approach: Approach, name: str) -> list[str]:
    """The value of a quantity, and all that is known about its range."""
    ranges = joined(*(describe_range(entry, name) for entry in assessed(approach, name)), between=void("br"))
    return [quantity(name, approach.quantities[name]), element("span", ranges or "not assessed", class_="range")]


def _law(study: LossStudy) -> Markup | str:
    """Constants and the optimum at the largest compute, with their intervals; folded away but for the first loss."""
    approach = study.approach(parametric.METHOD)
    if approach.refused:
        return ""
    shares = next((entry.seed_share for entry in approach.uncertainty if entry.seed_share), {})
    rows = [
        [
            LABELS.get(name, name),
            *_with_ranges(approach, name),
            f"{100 * shares[name]:.0f} %" if name in shares else "",
        ]
        for name in approach.quantities
    ]
    head = ["quantity", "value", "range", "of it single seeds"]
    note = f"Optima are for C = {largest_flops(study.points):.3g} FLOP, the largest compute of these runs. Minimised: "
    text = element("p", f"{note}{study.convention.objective.describe()}.")
    return _folded(study, joined(text, _table(head, rows)), "constants and optimum")


def _forecast(study: LossStudy) -> Markup:
    """Every law's held-out error; folded away but for the first loss."""
    if not isinstance(study.forecast, Forecast):
        return element("p", f"{study.convention.loss}: refused - {study.forecast.reason}.")
    forecast = study.forecast
    rows = [
        [
            law.law,
            law.formula,
            law.parameters,
            percent(law.rms_log),
            ("+" if law.mean_log > 0 else "−") + percent(abs(law.mean_log)),
            percent(law.fitted_rms_log),
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
    return _folded(study, joined(element("p", note), _table(head, rows)), "forecasts by law")


def _folded(study: LossStudy, content: Markup, what: str) -> Markup:
    name = study.convention.loss
    if name in FIRST_LOSSES:
        return joined(element("h3", f"By {name}"), content)
    return _details(f"By {name}: {what}", content)


def _details(summary: str, content: Markup) -> Markup:
    return element("details", element("summary", summary), content)


def _figure(drawing: Drawing) -> Markup:
    picture = base64.b64encode(drawing.svg).decode("ascii")
    return element(
        "figure",
        element("h3", drawing.title),
        void("img", alt=drawing.title, src=f"data:image/svg+xml;base64,{picture}"),
        element("figcaption", f"{drawing.caption} Numbers: figures/{drawing.name}.csv"),
    )


def _skipped(skipped: list[Refusal]) -> Markup | str:
    if not skipped:
        return ""
    items = _list(f"{refusal.method}: {refusal.reason}" for refusal in skipped)
    return joined(element("p", "Figures not drawn, for they would be empty:"), items)


def _left_out(study: LossStudy) -> Markup:
    rows = [[NAMES.get(refusal.method, refusal.method), "refused", refusal.reason] for refusal in study.refusals]
    rows += [[entry.run_id, "left out", entry.reason] for entry in study.points.exclusions]
    name = study.convention.loss
    if not rows:
        return element("p", f"{name}: every run was used, no fit was refused.")
    counts = f"{count(len(study.points.exclusions), 'run')} left out, {count(len(study.refusals), 'fit')} refused"
    return _details(f"{name}: {counts}", _table(["what", "", "why"], rows))


def _runs(source: Source) -> Markup:
    columns = [name for name in RUN_TABLE if name in source.runs]
    rows = [[_cell(value) for value in row] for row in source.runs[columns].astype(object).itertuples(index=False)]
    return _details(f"All {len(rows)} runs", _table(columns, rows))


def _times(source: Source) -> Markup | str:
    if source.times is None:
        return ""
    table = _table(["stack", "wall time, s", *timing.ACTIVITIES.values()], timing.rows(source.times))
    return joined(element("h2", "Where the time went"), element("p", timing.sentence(source.times)), table)


def _cell(value: object) -> str:
    if isinstance(value, str):
        return value
    return "" if pd.isna(value) else f"{value:,}" if isinstance(value, int) else f"{value:.5g}"


def _conventions(studies: list[LossStudy]) -> Markup:
    items = _list(study.convention.describe() for study in studies)
    text = (
        "Losses in nats a token; D in label tokens; log is natural. E known means that the exact floor was subtracted "
        "and E = 0. Ranges say what was varied. min..max is a spread and no confidence interval; fits to single seeds "
        "use one seed each. Resampled cells and seeds: a bootstrap over (N, D) with all seeds of a cell together, "
        "widened by what resampled seeds vary more than resampled runs. Draws of the scatter between seeds: every cell "
        "stays, and its mean loss moves as its seeds scatter; that knows nothing of the bias of a method."
    )
    return joined(items, element("p", text))


def _formulas() -> Markup:
    return joined(_table(["what", "formula", "source"], FORMULAS), _list(SOURCES))


def _list(items: Iterable[str]) -> Markup:
    return element("ul", *(element("li", item) for item in items))


def _table(columns: Sequence[str], rows: Iterable[Iterable[object]]) -> Markup:
    """A table of text and elements, in a box that scrolls sideways on a narrow screen; without columns no head."""
    head = element("thead", _row("th", columns)) if columns else ""
    body = element("tbody", *(_row("td", cells) for cells in rows))
    return element("div", element("table", head, body), class_="scroll")


def _row(kind: str, cells: Iterable[object]) -> Markup:
    return element("tr", *(element(kind, cell) for cell in cells))
