"""Trains a scaling-law sweep and fits the law: `python launch.py --config=configs/addition.py:laptop`.

The same command continues a sweep that was stopped. This file only joins the parts: flags -> config -> run_sweep ->
analysis -> report. Exit status: 0 all done; 2 bad config or flag; 74 a full or broken disk; 75 interrupted by a signal,
at least 30 s before any SIGKILL (docs/reliability.md): run it again. A second signal leaves at once.
"""

from vsweep.host import startup

if __name__ == "__main__":
    startup.begin()

from vsweep.cli import train

if __name__ == "__main__":
    train.run()
