import math

import pytest

from vsweep.config import fields
from vsweep.config.design import formula
from vsweep.config.fields import SWEPT
from vsweep.config.problems import ConfigError
from vsweep.config.sweep_config import from_dict

LR = SWEPT["lr"]


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("0.3 / width", 0.3 / 16),
        ("0.02 * (width / 16) ** -0.5", 0.02),
        ("min(1, 2, width) + max(3, layers)", 5.0),
        ("sqrt(width) * log(layers) - -1", 4 * math.log(4) + 1),
        ("round(width / 3) // 2 % 4", 2.0),
        ("width", 16.0),
    ],
)
def test_a_formula_is_arithmetic_over_fields(text, result):
    assert formula.is_formula(text, LR)
    assert formula.problem(text, "sweep.lr", ("width", "layers")) is None
    assert formula.value(text, {"width": 16, "layers": 4}) == pytest.approx(result, rel=1e-11)


@pytest.mark.parametrize("text", ["", "0.1", "-0.1", "fast", "range(4,20,4)", "0.1 /", "lambda: 1", "a: b", "1e-3x"])
def test_other_texts_are_no_formulas(text):
    assert not formula.is_formula(text, LR)


def test_a_word_or_a_switch_is_never_a_formula():
    assert not formula.is_formula("width + 1", SWEPT["schedule"])
    assert not formula.is_formula("width + 1", SWEPT["tied_embeddings"])


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').getpid() + 1",
        "width.real + 1",
        "(lambda: 1)() + 1",
        "width[0] + 1",
        "[1][0] + 1",
        "exp(width)",
        "sqrt(width, 2)",
        "min(width)",
        "round(width, ndigits=1)",
        "'a' + 'b'",
        "1j + 1",
        "True + 1",
        "width + (1 if layers else 2)",
        "width + (layers := 2)",
        "width @ layers",
        "-" * 1001 + "width",
    ],
)
def test_what_is_no_arithmetic_is_refused_unread(text):
    assert formula.is_formula(text, LR)
    assert formula.problem(text, "sweep.lr", ("width", "layers")) is not None


def test_an_unknown_name_is_named_with_the_closest():
    problem = formula.problem("0.3 / widht", "sweep.lr", ("width", "layers"))
    assert str(problem) == (
        "sweep.lr: a formula with the unknown name widht - got '0.3 / widht'; allowed: width, layers; "
        "did you mean width?"
    )


@pytest.mark.parametrize("text", ["1 / (width - 16)", "log(width - 16)", "(0 - width) ** 0.5", "width ** width ** 9"])
def test_a_formula_without_a_value_says_so(text):
    with pytest.raises(formula.CannotCompute):
        formula.value(text, {"width": 16})


def test_deep_formulas_end_with_a_message():
    with pytest.raises(formula.CannotCompute):
        formula.value("-" * 990 + "width" if formula.names("-" * 990 + "width") else "1/0", {"width": 16})


def test_a_result_has_twelve_digits_everywhere():
    assert formula.value("1 / width", {"width": 3}) == 0.333333333333


def test_commas_part_formulas_but_not_arguments():
    assert formula.parts("min(1, width), 0.3 / width") == ["min(1, width)", "0.3 / width"]
    assert formula.parts("min(1, width)") == ["min(1, width)"]


def test_static_fields_may_use_static_fields_only():
    numbers = {name: field for name, field in fields.SWEPT.items()}
    assert "width" in formula.known_names(SWEPT["layers"], numbers)
    assert not {"budget", "params", "layers", "schedule"} & set(formula.known_names(SWEPT["layers"], numbers))
    assert {"width", "budget", "params", "steps"} <= set(formula.known_names(LR, numbers))


def problems_of(**sections) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        from_dict(sections)
    return [str(problem) for problem in caught.value.problems]


def test_formulas_that_need_each_other_are_refused():
    (problem,) = problems_of(optimizer={"lr": "2 * weight_decay", "weight_decay": "lr / 2"})
    assert problem.startswith("sweep: formulas that need each other - got lr needs weight_decay needs lr")
    (problem,) = problems_of(train={"budget": "20 * steps"})
    assert "budget needs steps needs budget" in problem


def test_the_rest_of_a_config_with_a_bad_formula_can_be_looked_at():
    with pytest.raises(ConfigError) as caught:
        from_dict({"optimizer": {"lr": "0.3 / widht"}, "sweep": {"weight_decay": ["lr / x"], "width": [4, 8]}})
    assert len(caught.value.problems) == 2
    rest = caught.value.rest
    assert (rest.optimizer.lr, dict(rest.axes)) == (5e-3, {"width": (4, 8)})


def test_a_formula_of_an_optional_field_stands_in_the_sweep():
    (problem,) = problems_of(optimizer={"beta1": "1 - lr"})
    assert problem.startswith("optimizer.beta1: not a valid value - got '1 - lr'")
    assert from_dict({"sweep": {"beta1": ["1 - lr"]}}).axis("beta1") == ("1 - lr",)
