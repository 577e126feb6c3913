"""The variants of configs/text.py: their runs, their rates and what their evaluations cost."""

import json

import numpy as np
import pytest

from configs import text
from vsweep import tasks
from vsweep.config import sweep_config
from vsweep.plan import grid

RUNS = {"laptop": 60, "smoke": 12, "mycorpus": 50, "bpe": 60, "full": 70}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A small one in the place of each variant's own."""
    folder = tmp_path_factory.mktemp("corpus")
    lines = [json.dumps({"text": f"{number} of a thousand speeches. " * 10}) for number in range(1000)]
    (folder / "speeches.jsonl").write_text("\n".join(lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VSWEEP_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield str(folder)


def runs_of(variant: str, corpus: str) -> list[grid.Run]:
    config = text.get_config(variant)
    config.task.corpus = corpus
    parsed = sweep_config.from_dict(config.to_dict())
    return [run for stack in grid.build_stacks(parsed, tasks.build(parsed.task)) for run in stack.runs]


@pytest.mark.parametrize("variant", RUNS)
def test_a_variant_has_its_runs(variant, corpus):
    assert len(runs_of(variant, corpus)) == RUNS[variant]


def test_the_rate_falls_with_the_root_of_the_width(corpus):
    rates = {run.shape.width: run.lr for run in runs_of("laptop", corpus)}
    assert rates[16] == pytest.approx(0.016)
    assert rates[8] / rates[32] == pytest.approx(2.0)


@pytest.mark.parametrize("variant", ["laptop", "mycorpus", "bpe", "full"])
def test_evaluations_cost_a_tenth_of_training_at_most(variant):
    """Forward passes: a step of training counts as three. Each run is evaluated at all of its curve's points."""
    config = text.get_config(variant)
    blocks = np.array(config.sweep.budget) / config.task.context
    evaluated = config.train.curve_points * config.train.curve_examples + config.train.final_examples
    assert len(blocks) * evaluated <= 0.1 * 3 * blocks.sum()


def test_an_unknown_variant_is_named():
    with pytest.raises(ValueError, match="unknown variant 'laptpo'; allowed: laptop, smoke, "):
        text.get_config("laptpo")
