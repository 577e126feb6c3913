"""Kernels and bytes of one training step, counted in the text of a program that XLA compiled for a GPU.

A kernel is an instruction of the compiled loop's body that runs something on the device: a fusion, a matmul, a copy.
Its bytes are those of its operands, each once, and of its results. Of an operand that a fusion only slices, the slices
count; of a result that is written into a part of an operand, that part. A cache may serve some of them, so this is
what a step asks for and not what reaches the memory.
"""

import dataclasses
import functools
import math
import re
from collections.abc import Iterator

# Nothing runs for them: they name, group or reinterpret what is there.
FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "opt-barrier"}
FREE |= {"partition-id", "replica-id"}
SLICES = ("dynamic-slice", "slice")
# A part of their result may need all of an operand; of all others it needs the same part.
SPREADS = {"reduce", "reduce-window", "broadcast", "concatenate", "pad", "gather", "scatter", "dot", "sort", "call"}
CALLS = ("call", "async-start", "conditional")
COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "collective-permute", "collective-broadcast", "all-to-all")
BITS = {"pred": 8, "token": 0}  # else the number in the name of the type
ARRAY = re.compile(r"\b(pred|token|[a-z]+\d+[a-z0-9]*)\[([\d,]*)\]")
HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) .*\{$")
INSTRUCTION = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = ")


@dataclasses.dataclass(frozen=True)
class Counts:
    """Of one step of a whole stack, on one device."""

    kernels: int
    bytes: int
    copies: int  # of the kernels, those that only copy


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line of a computation."""

    name: str
    opcode: str
    result: str  # its type
    operands: tuple[str, ...]
    attributes: str
    is_root: bool = False

    @functools.cached_property
    def bytes(self) -> int:
        """Of its results; without the workspace that a library's matmul asks for."""
        is_library = self.opcode == "custom-call"
        return sum(size for kind, size in _arrays(self.result) if not (is_library and kind == "s8"))

    @property
    def called(self) -> list[str]:
        """Computations that its attributes name."""
        named = re.findall(r"(?:calls|to_apply|body|\w+_computation)=%?([\w.\-]+)", self.attributes)
        branches = re.search(r"branch_computations=\{([^}]*)\}", self.attributes)
        return named + (re.findall(r"%?([\w.\-]+)", branches[1]) if branches else [])


Program = dict[str, list[Instruction]]  # computation -> its lines; the entry's name is ""


def parse(text: str) -> Program:
    """The computations of `compiled.as_text()`."""
    program: Program = {}
    lines: list[Instruction] = []
    for line in text.splitlines():
        if match := INSTRUCTION.match(line):
            lines.append(_instruction(match[2], line[match.end() :], is_root=bool(match[1])))
        elif match := HEADER.match(line):
            lines = program.setdefault("" if match[1] else match[2], [])
    return program


def step_counts(text: str) -> Counts:
    """Of one turn of the loop in a compiled training program.

    Raises:
      ValueError: the entry has no loop, or several.
    """
    program = parse(text)
    kernels = list(_kernels(program, _loop(program).called[-1]))
    copies = sum(_only_copies(program, kernel) for kernel, _ in kernels)
    return Counts(len(kernels), sum(size for _, size in kernels), copies)


def trip_count(text: str) -> int | None:
    """Of that loop, where it was known when the program was compiled: the host then looks at no step."""
    found = re.search(r'"known_trip_count":\{"n":"(\d+)"', _loop(parse(text)).attributes)
    return int(found[1]) if found else None


def collectives(text: str) -> list[str]:
    """Names of all instructions by which devices would exchange anything."""
    every = (instruction for lines in parse(text).values() for instruction in lines)
    return [one.name for one in every if one.opcode.removesuffix("-start") in COLLECTIVES]


def _loop(program: Program) -> Instruction:
    loops = [instruction for instruction in program[""] if instruction.opcode == "while"]
    if len(loops) != 1:
        raise ValueError(f"a training program has one loop in its entry, and this one {len(loops)}")
    return loops[0]


def _kernels(program: Program, computation: str) -> Iterator[tuple[Instruction, int]]:
    """(kernel, its bytes) of everything that runs when `computation` runs once."""
    lines = program[computation]
    sizes = {instruction.name: instruction.bytes for instruction in lines}
    for instruction in lines:
        opcode = instruction.opcode
        if opcode == "while":
            known = re.search(r'"known_trip_count":\{"n":"(\d+)"', instruction.attributes)
            for _ in range(int(known[1]) if known else 1):
                yield from _kernels(program, instruction.called[-1])
        elif opcode in CALLS:
            for called in instruction.called:
                yield from _kernels(program, called)
        elif opcode not in FREE and not opcode.endswith(("-done", "-update")):
            yield instruction, _moved(program, instruction, sizes)


def _moved(program: Program, kernel: Instruction, sizes: dict[str, int]) -> int:
    """Bytes that a kernel reads and writes."""
    if kernel.opcode in SLICES:
        return 2 * kernel.bytes
    if kernel.opcode != "fusion":
        return kernel.bytes + sum(sizes[name] for name in dict.fromkeys(kernel.operands))
    lines = program[kernel.called[0]]
    inside, shares = {line.name: line for line in lines}, _shares_read(lines)
    read: dict[str, float] = {}
    for parameter in (line for line in lines if line.opcode == "parameter"):
        operand = kernel.operands[int(parameter.operands[0])]
        read[operand] = max(read.get(operand, 0.0), sizes[operand] * shares[parameter.name])
    updated = [line for line in lines if line.opcode == "dynamic-update-slice"]
    unwritten = sum(line.bytes - inside[line.operands[1]].bytes for line in updated)
    return max(0, kernel.bytes - unwritten) + round(sum(read.values()))


def _shares_read(lines: list[Instruction]) -> dict[str, float]:
    """Of what each line of a fusion is, what its users need: less than all where they slice it, or a part of that."""
    shares = {line.name: float(line.is_root) for line in lines}
    sizes = {line.name: line.bytes for line in lines}
    for user in reversed(lines):  # users stand behind what they use
        shares[user.name] = share = min(1.0, shares[user.name])
        for place, name in enumerate(user.operands if user.opcode not in ("parameter", "constant") else ()):
            if place == 0 and user.opcode in SLICES:
                shares[name] += share * user.bytes / sizes[name]
            elif place > 0 or user.opcode != "dynamic-update-slice":  # that updates its first operand in place
                shares[name] += 1.0 if user.opcode in SPREADS else share
    return shares


def _only_copies(program: Program, kernel: Instruction) -> bool:
    if kernel.opcode != "fusion":
        return kernel.opcode in ("copy", "copy-start")
    return {line.opcode for line in program[kernel.called[0]]} <= {*FREE, "copy"}


def _instruction(name: str, rest: str, *, is_root: bool) -> Instruction:
    """Of `type opcode(operands), attributes`."""
    result, rest = _first(rest)
    opcode, _, rest = rest.lstrip().partition("(")
    operands, attributes = _closed(rest)
    named = re.findall(r"%([\w.\-]+)", operands) or re.findall(r"[\w.\-]+", operands)
    return Instruction(name, opcode, result, tuple(named), attributes, is_root)


def _first(text: str) -> tuple[str, str]:
    """(type, rest): a type is one word, or a tuple in parentheses."""
    if not text.startswith("("):
        kind, _, rest = text.partition(" ")
        return kind, rest
    inside, rest = _closed(text[1:])
    return inside, rest


def _closed(text: str) -> tuple[str, str]:
    """(what stands before the parenthesis that closes, what stands behind it)."""
    depth = 1
    for place, sign in enumerate(text):
        depth += (sign == "(") - (sign == ")")
        if depth == 0:
            return text[:place], text[place + 1 :]
    raise ValueError(f"no parenthesis closes in {text[:80]!r}")


def _arrays(kind: str) -> Iterator[tuple[str, int]]:
    """(type, bytes) of each array in a type."""
    for name, dimensions in ARRAY.findall(kind):
        bits = BITS[name] if name in BITS else int(re.search(r"\d+", name)[0])
        yield name, math.prod(int(size) for size in dimensions.split(",") if size) * bits // 8
