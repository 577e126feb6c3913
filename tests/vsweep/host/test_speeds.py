"""The table of speeds: which card a device is planned as, and what is said of one that is not in it."""

import itertools

import pytest

from tests.vsweep import small
from vsweep import tasks
from vsweep.config import sweep_config
from vsweep.host import speeds
from vsweep.host.hardware import GPUS, Hardware
from vsweep.plan.sweep_plan import build_plan


@pytest.mark.parametrize(
    ("kind", "option"),
    [
        ("Tesla T4", "T4"),
        ("Tesla P100-PCIE-16GB", "P100"),
        ("Tesla V100-SXM2-32GB", "V100"),
        ("NVIDIA A100-PCIE-40GB", "A100-40GB"),
        ("NVIDIA A100 80GB PCIe", "A100-80GB"),
        ("NVIDIA L4", "L4"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA GeForce RTX 3090", "RTX-3090"),
        ("NVIDIA H100 80GB HBM3", "H100-80GB"),
        ("NVIDIA H200", "H200"),
        ("TPU v5 lite", "TPU-v5e"),
    ],
)
def test_a_device_is_known_by_its_name(kind, option):
    assert speeds.match(kind) == speeds.Match(speeds.BY_OPTION[option])
    assert Hardware(kind, 1, 2**34).notes == []


@pytest.mark.parametrize(
    ("kind", "capability", "memory_gib", "option"),
    [
        ("NVIDIA GeForce RTX 4070 Ti SUPER", 8.9, 12, "RTX-4070"),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", 8.0, 4, "A100-40GB"),
        ("NVIDIA RTX 2000 Ada Generation", 8.9, 12, "RTX-4080"),
        ("NVIDIA A10G", 8.6, 17, "RTX-3090"),
        ("NVIDIA L40", 8.9, 34, "L40S"),
        ("NVIDIA GH200 480GB", 9.0, 72, "H100-PCIe"),
        ("Quadro RTX 6000", 7.5, 17, "T4"),
        ("NVIDIA GB300", 10.3, 200, "B200"),
        ("NVIDIA Thor", 11.0, 90, "B200"),
        ("NVIDIA of 2040", 20.0, 400, "RTX-5090"),
        ("Tesla K80", 3.7, 8, "P100"),
        ("TPU v99", 0.0, 90, "TPU-v5e"),
        ("AMD Instinct MI250X", 0.0, 48, "T4"),
    ],
)
def test_a_device_that_is_not_in_the_table_is_like_one_that_is(kind, capability, memory_gib, option):
    found = speeds.match(kind, capability, memory_gib * speeds.GIB)
    assert (found.card.option, bool(found.why)) == (option, True)


def test_a_plan_says_that_a_speed_is_estimated():
    parsed = sweep_config.from_dict(small.config())
    task = tasks.build(parsed.task)
    said = small.shown(build_plan(parsed, task, Hardware("NVIDIA A10G", 1, 17 * 2**30, capability=8.6)))
    assert "note: NVIDIA A10G is not in the table of speeds; its time and slots are estimated as RTX-3090" in said
    assert "a prediction that was never measured" in said
    assert "is not in the table" not in small.shown(build_plan(parsed, task, GPUS["L40S"]))
    assert "a rough guess" in small.shown(build_plan(parsed, task, Hardware("cpu", 2, 2**33)))


def test_a_core_keeps_its_speed():
    assert Hardware("cpu", 2, 2**33).speed == speeds.Speed(2.5e-3, 2.2e-8, 2.6e10, 10.0, 4e-9)


def test_faster_memory_and_products_never_make_a_card_slower():
    def times(option: str) -> tuple[float, ...]:
        speed = speeds.BY_OPTION[option].speed
        return speed.step_s, speed.position_width_s, 1 / speed.flops, speed.score_s

    order = ("T4", "V100", "A100-40GB", "H100-80GB", "H200", "B200")
    for slow, fast in itertools.pairwise(order):
        assert all(one >= other for one, other in zip(times(slow), times(fast), strict=True)), (slow, fast)


def test_each_card_has_a_name_of_its_own_and_is_found_by_it():
    assert len(GPUS) == len(speeds.CARDS)
    for option, machine in GPUS.items():
        assert speeds.match(machine.kind, machine.capability).card is speeds.BY_OPTION[option]
    assert [option for option, machine in GPUS.items() if not machine.bfloat16] == ["T4", "P100", "V100"]
