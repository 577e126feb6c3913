"""What a plan predicts of rounder products and activations, against programs that were compiled without a card."""

import functools

import pytest

from configs import addition
from tests.vsweep import small
from vsweep import tasks
from vsweep.config import sweep_config
from vsweep.host.hardware import GPUS, Hardware
from vsweep.plan import precisions
from vsweep.plan.cost import step_seconds
from vsweep.plan.sweep_plan import SweepPlan, build_plan

# Hours that all of `addition:full` trains, with products of float32 and of TF32: a model of compiled programs' time.
PREDICTED_HOURS = {"A100-40GB": (0.57, 0.32), "H100-80GB": (0.28, 0.19)}
CPU = Hardware("cpu", 2, 2**33)


@functools.cache
def full(gpu: str, products: str) -> SweepPlan:
    config = addition.get_config("full")
    config.train.matmul_precision = products
    parsed = sweep_config.from_dict(config)
    return build_plan(parsed, tasks.build(parsed.task), GPUS[gpu])


def planned(values: dict, hardware: Hardware) -> SweepPlan:
    parsed = sweep_config.from_dict(values)
    return build_plan(parsed, tasks.build(parsed.task), hardware)


@pytest.mark.parametrize("gpu", PREDICTED_HOURS)
def test_tf32_saves_about_as_much_as_was_predicted(gpu):
    saved = 1 - sum(cost.train_s for cost in full(gpu, "auto").estimates) / sum(
        cost.train_s for cost in full(gpu, "highest").estimates
    )
    exact, rounded = PREDICTED_HOURS[gpu]
    assert saved == pytest.approx(1 - rounded / exact, abs=0.05)


def test_a_plan_says_what_rounding_would_save_and_that_nobody_measured_it():
    lines = precisions.notes(full("A100-40GB", "highest"))
    assert [line.split("'")[1] for line in lines] == ["auto", "bfloat16"]
    assert all("predicted, never measured" in line for line in lines)
    assert "with train.matmul_precision='auto'" in small.shown(full("A100-40GB", "highest"))


def test_nothing_is_offered_that_a_sweep_has_or_that_gains_nothing():
    def lines(hardware: Hardware, **rounding) -> list[str]:
        values = small.config(
            model={"width": 256, "layers": 4}, train={"batch_size": 256, **rounding}, sweep={"budget": [10**6]}
        )
        return precisions.notes(planned(values, hardware))

    assert len(lines(GPUS["H100-80GB"])) == 2
    assert lines(GPUS["H100-80GB"], matmul_precision="auto", precision="bfloat16") == []
    assert lines(GPUS["T4"]) == lines(CPU) == []


@pytest.mark.parametrize("gpu", GPUS)
def test_rounding_never_makes_a_step_slower(gpu):
    (stack,) = planned(small.config(), CPU).stacks
    task = planned(small.config(), CPU).task
    exact, rounded = (step_seconds(stack.shape, task, 8, GPUS[gpu], name) for name in ("highest", "auto"))
    assert rounded <= exact


def test_a_core_plans_the_same_whatever_is_rounded():
    for train in ({"matmul_precision": "auto"}, {"matmul_precision": "default"}):
        plan, other = planned(small.config(train=train), CPU), planned(small.config(), CPU)
        assert (plan.plans, plan.estimates) == (other.plans, other.estimates)
