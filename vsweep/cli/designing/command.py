"""The command `vsweep design`: a sweep for a compute, or runs to add to one."""

from collections.abc import Sequence

from vsweep.atomic import CannotWrite, write_text_atomically
from vsweep.cli import flags
from vsweep.cli.designing import config_file, options
from vsweep.config.problems import ConfigError


def main(arguments: Sequence[str]) -> int:
    """Prints a design, and writes it where that was asked for. Returns 0; mistakes end with one list and status 2."""
    try:
        asked = options.read(arguments)
        with flags.reading_variables():  # a mistake is answered before jax is loaded
            from vsweep.cli.designing import more, new
            from vsweep.host.progress import standard_console

        console = standard_console()
        kind = more if asked.workdir else new
        proposal = kind.propose(asked)
        said = kind.render(proposal, console.width)
        if asked.out:
            _write(asked, proposal, kind)
        console.print(said, highlight=False, markup=False, soft_wrap=True)
        return 0
    except ConfigError as error:
        flags.fail(error.problems)
    except CannotWrite as error:
        flags.leave_at_once(f"vsweep design has stopped: {error}", CannotWrite.STATUS)


def _write(asked: options.Options, proposal, kind) -> None:
    """The config file, and beside it the explicit runs of an addition."""
    config = proposal.base.with_sweep({}, asked.out.stem)
    if not asked.workdir:
        text = config_file.text(config, proposal.sweep, kind.about(proposal), asked.out)
    else:
        runs = asked.out.with_suffix(".csv")
        write_text_atomically(runs, kind.csv_text(proposal))
        text = config_file.text(config, {}, kind.about(proposal), asked.out, runs)
    write_text_atomically(asked.out, text)
