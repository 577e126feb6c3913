"""Values that depend on other values: `lr = "0.3 / width"`, a text with arithmetic over the fields of a run.

A formula is data, so that config.json, the command line and the fingerprint can carry it. It is parsed by `ast` and
computed here, in floats; nothing is ever evaluated as Python.
"""

import ast
import functools
import graphlib
import math
import operator
from collections.abc import Callable, Mapping

from vsweep.config import fields
from vsweep.config.field import SPLITTING, STATIC, Field
from vsweep.config.problems import Problem, closest

FUNCTIONS: dict[str, Callable[..., float]] = {
    "min": min,
    "max": max,
    "sqrt": math.sqrt,
    "log": math.log,
    "round": lambda value: float(round(value)),
}
SEVERAL = ("min", "max")  # of any number of arguments from two; the others have one
OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}
COUNTS = ("params", "params_non_embedding", "steps")  # of a run: what follows from its fields
DIGITS = 12  # of a result: the last ones of a logarithm depend on the machine
LONGEST = 1000  # characters
ALLOWED = f"numbers, + - * / // % **, {', '.join(FUNCTIONS)}"


class CannotCompute(ValueError):
    """A formula that has no value for some run, or none that is a number."""


def is_number(field: Field) -> bool:
    """Whether a formula may stand for a value of the field."""
    return field.values.type in (int, float) and field.kind != SPLITTING


def is_formula(value: object, field: Field) -> bool:
    """Whether `value` is meant as a formula: a text that is an expression, of a field that is a number.

    A single word is a formula only where it is a name that some formula may use, and `range(...)` is a slip.
    """
    if not isinstance(value, str) or not is_number(field):
        return False
    body = _parsed(value)
    if isinstance(body, ast.Name):
        return body.id in COUNTS or body.id in _numbers()
    call = isinstance(body, ast.Call) and not (isinstance(body.func, ast.Name) and body.func.id == "range")
    signed = isinstance(body, ast.UnaryOp) and not isinstance(body.operand, ast.Constant)
    return call or signed or isinstance(body, ast.BinOp)


def parts(text: str) -> list[str]:
    """The expressions of `a, b`: a comma between the arguments of a function parts nothing."""
    body = _parsed(text)
    if not isinstance(body, ast.Tuple):
        return [text]
    return [ast.get_source_segment(text.strip(), each) or "" for each in body.elts]


def names(text: str) -> set[str]:
    """The names of values that a formula uses."""
    called = {id(node.func) for node in ast.walk(_parsed(text)) if isinstance(node, ast.Call)}
    return {node.id for node in ast.walk(_parsed(text)) if isinstance(node, ast.Name) and id(node) not in called}


def problem(text: str, path: str, known: tuple[str, ...]) -> Problem | None:
    """What is wrong with a formula, whatever the run; `known` are the names that it may use."""
    if len(text) > LONGEST:
        return Problem(path, "a formula that is too long", f"{len(text):,} characters", f"at most {LONGEST:,}")
    for node in ast.walk(_parsed(text)):
        if what := _strange(node):
            return Problem(path, f"{what} in a formula", repr(text), ALLOWED)
    for name in sorted(names(text) - set(known)):
        return Problem(
            path, f"a formula with the unknown name {name}", repr(text), ", ".join(known), closest(name, known)
        )
    return None


def known_names(field: Field, numbers: Mapping[str, Field], more: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The names that a formula of `field` may use: of static fields only static ones, which fix the model.

    `numbers` are the fields of the config that a run has, by name, and `more` the axes of its design.
    """
    static = [name for name, each in numbers.items() if each.kind == STATIC and is_number(each)]
    if field.kind == STATIC:
        return tuple(name for name in static if name != field.name)
    names = [name for name, each in numbers.items() if is_number(each) and name != field.name]
    return (*names, *COUNTS, *more)


def circles(formulas: Mapping[str, set[str]]) -> list[Problem]:
    """Formulas that need each other: field -> the names that its formulas use."""
    try:
        graphlib.TopologicalSorter({**formulas, "steps": {"budget", "batch_size"}}).prepare()
    except graphlib.CycleError as error:
        got = " needs ".join(error.args[1][::-1])
        return [Problem("sweep", "formulas that need each other", got, "formulas in some order")]
    return []


def value(text: str, values: Mapping[str, float]) -> float:
    """What a formula without problems gives, to 12 digits. Raises CannotCompute."""
    try:
        found = _computed(_parsed(text), values)
    except (ArithmeticError, ValueError, RecursionError) as error:
        raise CannotCompute(str(error)) from error
    if isinstance(found, complex) or not math.isfinite(found):
        raise CannotCompute(f"it gives {found}")
    return float(f"{found:.{DIGITS}g}")


@functools.cache
def _numbers() -> frozenset[str]:
    return frozenset(field.name for field in (*fields.FIELDS, *fields.MORE_OPTIONS) if field.swept and is_number(field))


@functools.lru_cache(maxsize=4096)
def _parsed(text: str) -> ast.AST:
    """The expression, or a Constant of the text itself where it is none."""
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ast.Constant(text)


def _strange(node: ast.AST) -> str:
    """What a node is that no formula may have, or nothing."""
    if isinstance(node, ast.Call):
        if not isinstance(node.func, ast.Name) or node.func.id not in FUNCTIONS:
            return f"the call of {ast.unparse(node.func)}"
        several = node.func.id in SEVERAL
        if node.keywords or (len(node.args) < 2 if several else len(node.args) != 1):
            return f"{node.func.id} with {len(node.args) + len(node.keywords)} arguments"
    if isinstance(node, ast.Constant) and type(node.value) not in (int, float):
        return f"{node.value!r}"
    plain = (ast.Constant, ast.Name, ast.Load, ast.Call, ast.BinOp, ast.UnaryOp, *OPERATORS)
    return "" if isinstance(node, plain) else type(node).__name__


def _computed(node: ast.AST, values: Mapping[str, float]) -> float:
    match node:
        case ast.Constant(value=number):
            return float(number)
        case ast.Name(id=name):
            return float(values[name])
        case ast.UnaryOp(op=sign, operand=operand):
            return OPERATORS[type(sign)](_computed(operand, values))
        case ast.BinOp(left=left, op=sign, right=right):
            return _real(OPERATORS[type(sign)](_computed(left, values), _computed(right, values)))
        case ast.Call(func=ast.Name(id=name), args=arguments):
            return FUNCTIONS[name](*(_computed(argument, values) for argument in arguments))
    raise CannotCompute(f"it holds {type(node).__name__}")  # what `problem` refuses


def _real(found: float | complex) -> float:
    if isinstance(found, complex):
        raise CannotCompute("it gives a complex number")
    return found
