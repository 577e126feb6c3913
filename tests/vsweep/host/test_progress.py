import io
import os
import sys

import pytest
from rich.console import Console

from configs import addition
from tests.vsweep import small
from vsweep import tasks
from vsweep.config import sweep_config
from vsweep.host import progress
from vsweep.host.hardware import Hardware
from vsweep.host.progress import PlainProgress, SilentProgress, TerminalProgress, duration_text, size_text
from vsweep.plan import sweep_plan, table


def console(width: int = 132, *, terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=terminal)


@pytest.mark.parametrize("variant", ["full", "laptop", "seeds", "smoke", "wsd"])
def test_the_plan_of_every_study_stands_in_132_columns_without_being_cut(variant):
    parsed = sweep_config.from_dict(addition.get_config(variant))
    sweep = sweep_plan.build_plan(parsed, tasks.build(parsed.task), Hardware("Tesla T4", 1, 15 * 2**30))
    text = small.shown(sweep)
    assert "…" not in text
    *rows, totals = text.splitlines()
    assert max(len(line) for line in rows) <= 132
    assert f"addition-{variant}: {sweep.runs} runs in {len(sweep.stacks)} stacks" in text
    cells = [[cell.strip() for cell in line.split("│")] for line in rows if line.startswith("│")]
    rows = {row[1]: row for row in cells}
    assert list(rows) == [stack.name for stack in sweep.stacks]
    for stack, stack_plan, cost in zip(sweep.stacks, sweep.plans, sweep.estimates, strict=True):
        row = rows[stack.name]
        assert f"{cost.params:,}" in row
        assert str(len(stack.runs)) in row
        assert str(stack_plan.slots) in row
        assert f"{stack_plan.steps:,}" in row
        assert str(len(stack_plan.boundaries)) in row
        assert f"{stack_plan.wasted_share:.1%}" in row
        assert size_text(cost.memory_bytes) in row
        assert size_text(cost.disk_bytes) in row
        assert duration_text(cost.train_s + cost.compile_s) in row
    assert totals.startswith("Tesla T4 x 1: ")
    for word in ("FLOP", "a device", "of disk", f"{table.wasted_share(sweep):.1%} of slot-steps wasted", "about"):
        assert word in totals


def test_a_stack_of_many_swept_fields_is_not_cut_either():
    axes = {"width": [128], "layers": [16], "batch_size": [128], "schedule": ["constant"], "precision": ["bfloat16"]}
    sweep = small.sweep(small.config(sweep={**axes, "budget": [10**6]}))
    text = small.shown(sweep)
    assert sweep.stacks[0].name in text
    assert "…" not in text


def test_the_wasted_share_of_a_sweep_weighs_stacks_by_their_slot_steps():
    sweep = small.sweep(small.config(sweep={"width": [4, 8], "budget": [700, 5000], "seed": [0]}))
    seats = sum(stack_plan.slots * stack_plan.steps for stack_plan in sweep.plans)
    trained = sum(run.steps for stack in sweep.stacks for run in stack.runs)
    assert table.wasted_share(sweep) == pytest.approx(1 - trained / seats)


def test_away_from_a_terminal_a_message_is_one_plain_line_however_long():
    display = progress.for_console(console(width=40))
    assert type(display) is PlainProgress
    path = "/a/very/long/path/[bold]/" * 10
    with display:
        display.say(f"work directory: {path}")
        display.compiling("w4")
        display.drawing()
    assert display.console.file.getvalue() == f"work directory: {path}\nw4: compiling\ndrawing the report\n"


def test_plain_progress_is_a_line_every_half_minute_and_not_one_a_chunk():
    display = PlainProgress(console())
    update = {"done": 0.25, "runs": "3 of 12", "tokens_per_s": 12345.6, "eta_s": 600.0}
    for _ in range(100):
        display.update("w8", **update)
    assert display.console.file.getvalue() == ""
    display._last -= progress.PLAIN_LINE_EVERY_S
    for _ in range(100):
        display.update("w8", **update)
    line = "w8: 25% of the sweep, 3 of 12 runs done, 12,346 tokens/s, 10 min to go\n"
    assert display.console.file.getvalue() == line


def test_on_a_terminal_there_is_a_bar_with_the_runs_the_speed_and_the_time_to_go():
    display = progress.for_console(console(terminal=True))
    assert type(display) is TerminalProgress
    with display:
        display.compiling("w8")
        display.update("w8", done=0.5, runs="6 of 12", tokens_per_s=1000.0, eta_s=30.0)
        display.say("[w8] half of it")
    text = display.console.file.getvalue()
    assert "6 of 12 runs done, 1,000 tokens/s, 30 s to go" in text
    assert "[w8] half of it" in text


def test_while_a_report_is_drawn_the_bar_says_so():
    display = progress.for_console(console(terminal=True))
    with display:
        display.update("w8", done=1.0, runs="12 of 12", tokens_per_s=1000.0, eta_s=0.0)
        display.drawing()
    assert "drawing the report" in display.console.file.getvalue()
    assert "0 s to go" not in display.console.file.getvalue()


class Unwritable(io.StringIO):
    """A stream that raises from some write on."""

    def __init__(self, error: Exception, writes: int):
        super().__init__()
        self.error = error
        self.left = writes

    def write(self, text: str) -> int:
        self.left -= 1
        if self.left < 0:
            raise self.error
        return super().write(text)


def show_everything(display: SilentProgress) -> None:
    with display:
        for _ in range(3):
            display.say("a message")
            display.compiling("w8")
            display.update("w8", done=0.5, runs="6 of 12", tokens_per_s=1000.0, eta_s=30.0)


@pytest.mark.parametrize("writes", [0, 1, 2])
@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("error", [BrokenPipeError(32, "gone"), OSError(28, "full"), OSError(5, "hung up")])
def test_a_display_that_cannot_be_written_falls_silent_and_gives_standard_output_back(
    error, terminal, writes, monkeypatch
):
    """Without `startup`, as in a script of its own. rich itself ends a program whose reader is gone."""
    before, file = (sys.stdout, sys.stderr), Unwritable(error, writes)
    monkeypatch.setattr(os, "dup2", lambda *descriptors: None)  # rich would take pytest's own standard output away
    show_everything(progress.for_console(Console(file=file, width=132, force_terminal=terminal)))
    assert (sys.stdout, sys.stderr) == before
    assert file.left < 0


def test_a_display_whose_file_was_closed_falls_silent_and_other_errors_are_told():
    display = PlainProgress(console())
    display.console.file.close()
    show_everything(display)
    with pytest.raises(UnicodeEncodeError):
        show_everything(PlainProgress(Console(file=Unwritable(UnicodeEncodeError("ascii", "é", 0, 1, "no"), 0))))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (89, "89 s"), (600, "10 min"), (5399, "90 min"), (7200, "2.0 h")],
)
def test_durations_are_said_in_the_unit_that_people_use(seconds, text):
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1500, "1.5 kB"),
        (2_340_000, "2.34 MB"),
        (7e9, "7 GB"),
        (2e12, "2 TB"),
    ],
)
def test_sizes_are_said_with_three_digits(count, text):
    assert size_text(count) == text
