"""What the terms of the report mean, and where its formulas come from."""

from collections.abc import Sequence

from vsweep.analysis.sections.base import LossStudy, Table

PAPERS = {  # what the report links to, and nothing else
    "Hoffmann et al. 2022": "https://arxiv.org/abs/2203.15556",
    "Besiroglu et al. 2024": "https://arxiv.org/abs/2404.10102",
    "Kaplan et al. 2020": "https://arxiv.org/abs/2001.08361",
    "Busbridge et al. 2025": "https://arxiv.org/abs/2502.08606",
    "Porian et al. 2024": "https://arxiv.org/abs/2406.19146",
    "Pearce and Song 2024": "https://arxiv.org/abs/2406.12907",
}
FORMULAS = (  # what, formula, paper, where in it
    ("Parametric law", "L(N, D) = E + A / N^α + B / D^β", "Hoffmann et al. 2022", ", section 3.3"),
    (
        "Objective, by default",
        "Σ Huber(log(E + A/N^α + B/D^β) − log L), δ = 0.001",
        "Besiroglu et al. 2024",
        ", and Hoffmann et al. 2022, equation 3",
    ),
    (
        "Compute-optimal path",
        "N_opt = G (C/6)^a, D_opt = (C/6)^b / G, a = β/(α+β), b = α/(α+β), G = (αA / βB)^(1/(α+β))",
        "Hoffmann et al. 2022",
        ", equation 4",
    ),
    (
        "Lower envelope",
        "N_opt = k C^a on the lowest of all loss curves, on annealed points if enough sizes have them",
        "Hoffmann et al. 2022",
        ", section 3.1",
    ),
    (
        "IsoFLOP",
        "N_opt = k C^a through the interior minima of L(N) at fixed C",
        "Hoffmann et al. 2022",
        ", section 3.2",
    ),
    ("Compute line", "L(C) = (C / C0)^−a through the lower convex hull of all points", "Kaplan et al. 2020", ""),
    ("Power mean", "E + ((A/N^α)^p + (B/D^β)^p)^(1/p)", "Busbridge et al. 2025", ", with p = 1/γ"),
    ("Kaplan's law", "((Nc/N)^(α_N/α_D) + Dc/D)^α_D", "Kaplan et al. 2020", ", equation 1.5"),
    (
        "Kaplan's choices, one by one",
        "a with and without embeddings, with and without annealing",
        "Porian et al. 2024",
        "",
    ),
    ("Embeddings in closed form", "N_total = N + ω N^power", "Pearce and Song 2024", ""),
)
PUBLISHED = (
    "Published exponents: Hoffmann et al. 2022 give a = 0.50 (envelope), 0.49 (IsoFLOP) and 0.46 (parametric). "
    "Besiroglu et al. 2024 refit the parametric law: α = 0.348, β = 0.366, a = 0.51."
)
TERMS = (
    ("N, D, C", "Parameters, label tokens, and training compute in FLOP."),
    ("E known", "The task's exact floor was subtracted from the loss, so the law has E = 0."),
    ("cell", "The runs of one size and one token budget. They differ only by their seed."),
    ("lower envelope", "The lowest loss that any curve has reached at each compute."),
    ("lower hull", "The convex line below all points, in log loss against log compute."),
    ("IsoFLOP", "Equal compute: loss against size at one C. Its minimum is the best size at that C."),
    ("PCHIP, Akima", "Two interpolations that do not overshoot between points."),
    ("Huber", "A penalty that is quadratic for residuals up to δ and linear beyond, so outliers count less."),
    ("min..max", "The spread over fits to single seeds. It is not a confidence interval."),
    (
        "resampled cells and seeds",
        "A bootstrap over (N, D) with all seeds of a cell together, widened by the extra variance of resampled seeds.",
    ),
    (
        "draws of the scatter between seeds",
        "Every cell stays, and its mean loss moves as its seeds scatter. The bias of a method is not included.",
    ),
    ("annealed", "In the last 15 % of a run, where its learning rate has come down."),
)


def tables(studies: Sequence[LossStudy]) -> list[Table]:
    """How each loss is fitted, and the terms of the page."""
    fitted = tuple((study.loss, study.convention.describe()) for study in studies)
    loss = ("loss", f"In {studies[0].source.loss_unit}; log is the natural logarithm.")
    return [
        Table("Conventions of the fits", ("loss", "convention"), fitted),
        Table("Terms", ("term", "meaning"), (loss, *TERMS)),
    ]
