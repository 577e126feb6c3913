"""Every option of the commands with an example: for `--help`, and for the tables in docs/analysis.md.

A test keeps the document true; it prints the table that is expected.
"""

import argparse
import shlex

# Option -> an example of its value; an option of one command only may be named with it. Switches need none.
EXAMPLES = {
    "--out": "results/mine",
    "--bootstrap": "1000",
    "--column": "D=tokens_B*1e9",
    "--loss-unit": "bits/byte",
    "--where": 'dataset == "web"',
    "--min-progress": "0.99",
    "--by": "dataset",
    "compare --by": "lr=0.003,0.01",
    "--size": "params_non_embedding",
    "--flops": "flops_counted",
    "plan --flops": "989e12",
    "--level": "95",
    "--terms": "width,depth,D",
    "--isoflop-window": "5",
    "--floor": "1.69",
    "--residual": "loss",
    "--penalty": "absolute",
    "--delta": "0.01",
    "--overestimate": "2",
    "--law": "hoffmann",
    "--loss-convention": "val_loss",
    "--compute": "5.76e23",
    "--gpu-hours": "1000",
    "--at": "N=1e9,D=2e10",
    "--mfu": "0.4",
    "--gpus": "8",
    "--tokens": "3e11",
    "--unique-tokens": "1e10",
    "--repeats": "muennighoff",
    "--served": "2e12",
    "--reserve": "0.1",
    "--loss": "val_loss",
    "--margin": "0.05",
    "--within": "0.1",
    "--beyond": "0.5",
    "--curves": "runs/mine",
    "--json": "check.json",
    "design --flops": "1e14",
    "design --out": "configs/mine.py",
    "--assume": "runs/pilot/analysis/fits.json",
    "--seed-spread": "0.003",
    "--tokens-per-param": "20",
    "--config": "configs/mine.py:text",
    "--vocabulary": "256",
    "--positions": "512",
    "--kind": "grid",
    "--min-flops": "1e11",
    "--levels": "4",
    "--sizes": "5",
    "--seeds": "3",
    "--target-flops": "1e16",
}


class Help(argparse.RawDescriptionHelpFormatter):
    """What each option means, and an example of it."""

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        if not action.option_strings or action.dest == "help":
            return text
        return f"{text}; example: {example(self._prog, action)}".replace("%%", "%").replace("%", "%%")


def example(prog: str, action: argparse.Action) -> str:
    """The option as one would type it, such as `--delta 0.01`.

    Raises:
      KeyError: an option that takes a value and has no example.
    """
    option = action.option_strings[-1]
    if action.nargs == 0:
        return option
    word = prog.split()[-1].partition("-")[0]  # `plan` of plan-from-law, too
    value = EXAMPLES.get(f"{word} {option}") or EXAMPLES[option]
    return f"{option} {shlex.quote(value)}"


def table(parser: argparse.ArgumentParser) -> str:
    """The options of one command as a table of Markdown."""
    shown = [action for action in parser._actions if action.option_strings and action.dest != "help"]
    rows = [
        f"| `{_name(action)}` | {_meaning(parser, action)} | `{example(parser.prog, action)}` |" for action in shown
    ]
    return "\n".join(["| option | what it does | example |", "| --- | --- | --- |", *rows])


def _name(action: argparse.Action) -> str:
    metavar = "" if action.nargs == 0 else f" {action.metavar or action.dest.upper()}"
    return action.option_strings[-1] + metavar.replace("|", "\\|")


def _meaning(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    values = {**vars(action), "prog": parser.prog}
    text = (action.help or "") % values
    if action.choices:
        text += f" [{', '.join(map(str, action.choices))}]"
    return text.replace("|", "\\|")
