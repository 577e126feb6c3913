"""Plans for GPUs that are not here, on corpora that are not there."""

import pytest

from configs import kaplan
from tests.vsweep import small
from vsweep.config.problems import ConfigError
from vsweep.host.hardware import GPUS
from vsweep.host.speeds import GIB
from vsweep.plan.cost import MEMORY_SHARE
from vsweep.plan.sweep_plan import SweepPlan
from vsweep.session import preflight

MAKE_C4 = "tokenise hf:allenai/c4:en --tokenizer gpt2 --max-tokens 1e9 --out corpora/c4"


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def c4() -> SweepPlan:
    return preflight.plan_for(kaplan.get_config("c4"), "A100-40GB")


def refusal(function, *arguments, **keywords) -> str:
    with pytest.raises(ConfigError) as error:
        function(*arguments, **keywords)
    return str(error.value)


def text_config(**task) -> dict:
    options = {"corpus": "corpora/none", "context": 16, "expected_tokens": 50_000, **task}
    values = small.config(sweep={"budget": [700]})
    return {**values, "task": {"name": "text", **options}}


def test_c4_is_planned_whole_on_40_gigabytes(c4):
    assert [stack.shape.width for stack in c4.stacks] == list(kaplan.WIDTHS)
    assert {stack.runs[0].steps for stack in c4.stacks} == {30_000}
    assert all(plan.slots >= 1 for plan in c4.plans)
    usable = MEMORY_SHARE * GPUS["A100-40GB"].memory_bytes
    assert all(0.1 * GIB < cost.memory_bytes < usable for cost in c4.estimates)
    assert sum(cost.flops for cost in c4.estimates) == pytest.approx(6.3e17, rel=0.01)


def test_the_plan_of_c4_says_cost_memory_slots_and_disk(c4):
    said = small.shown(c4)
    assert "NVIDIA A100-SXM4-40GB x 1: 6.28e+17 FLOP" in said
    assert "GB a device" in said
    assert "GB of disk" in said
    assert "1,000,000,000 training tokens of gpt2" in said
    assert MAKE_C4 in said


def test_chunks_of_logits_are_what_makes_c4_fit(c4):
    logits_bytes = 4 * 32 * 1024 * 50_257
    assert max(cost.memory_bytes for cost in c4.estimates) < 2 * logits_bytes  # plain: four copies and more


@pytest.mark.parametrize(("variant", "gpu"), [("budgets", "A100-40GB"), ("t4", "T4"), ("offline", "H100-80GB")])
def test_no_other_variant_is_too_big(variant, gpu):
    planned = preflight.plan_for(kaplan.get_config(variant), gpu)
    assert all(plan.slots >= 1 for plan in planned.plans)
    assert not [note for note in planned.notes if "bfloat16" in note]


def test_several_devices_are_those_of_the_config():
    config = kaplan.get_config("t4")
    config.train.devices = 4
    assert preflight.plan_for(config, "T4").hardware.devices == 4


def test_memory_of_the_config_stands_before_that_of_the_card():
    config = kaplan.get_config("t4")
    config.train.device_memory_gib = 8.0
    assert preflight.plan_for(config, "T4").hardware.memory_bytes == 8 * GIB


def test_an_unknown_device_is_answered_with_all_problems():
    values = text_config()
    values["optimizer"] = {"lr": -1.0}
    said = refusal(preflight.plan_for, values, "A100-40")
    assert "--plan_device" in said
    assert "did you mean A100-40GB?" in said
    assert "optimizer.lr" in said


def test_training_without_the_corpus_names_its_command():
    assert MAKE_C4 in refusal(preflight.prepare, kaplan.get_config("c4"), "run")


def test_a_plan_needs_to_know_how_many_tokens_there_will_be():
    assert "no such file or folder" in refusal(preflight.plan_for, text_config(expected_tokens=0), "T4")
    assert "shorter than task.context" in refusal(preflight.plan_for, text_config(expected_tokens=16), "T4")


def test_what_is_missing_is_planned_here_and_not_trained():
    values = text_config()
    sweep = preflight.prepare(values, "run", planning=True).sweep
    assert sweep.task.train_examples == 3124
    assert sweep.task.vocabulary == 256
    assert "corpora/none is not there yet" in small.shown(sweep)
    assert "no such file or folder" in refusal(preflight.prepare, values, "run")


def test_hints_of_a_plan_leave_old_configs_as_they_were():
    from vsweep.config import sweep_config

    plain = sweep_config.from_dict(text_config(expected_tokens=0))
    hinted = sweep_config.from_dict(text_config(made_from="texts"))
    assert "expected_tokens" not in plain.to_dict()["task"]
    assert hinted.to_dict()["task"]["made_from"] == "texts"
    assert sweep_config.fingerprint(plain, "data") == sweep_config.fingerprint(hinted, "data")
    assert not sweep_config.differences(plain.to_dict(), hinted.to_dict())
