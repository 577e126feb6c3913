"""What `train.matmul_precision` comes to on a device."""

import pytest

from vsweep.config.fields import MATMUL_PRECISIONS
from vsweep.host import products
from vsweep.host.hardware import GPUS, Hardware

CPU = Hardware("cpu", 2, 2**33)


@pytest.mark.parametrize(
    ("hardware", "asked", "told"),
    [
        (CPU, "highest", "highest"),
        (GPUS["T4"], "highest", "highest"),
        (GPUS["A100-40GB"], None, "tensorfloat32"),
        (GPUS["H100-80GB"], None, "tensorfloat32"),
        (GPUS["TPU-v5e"], None, "bfloat16"),
        (Hardware("AMD Instinct MI250X", 1, 2**35), None, "default"),
    ],
)
def test_auto_leaves_an_accelerator_to_jax_and_says_what_that_is(hardware, asked, told, monkeypatch):
    monkeypatch.delenv(products.TF32_OVERRIDE, raising=False)
    assert (products.asked("auto", hardware), products.in_words("auto", hardware)) == (asked, told)


def test_auto_uses_no_tf32_where_the_system_forbids_it(monkeypatch):
    monkeypatch.setenv(products.TF32_OVERRIDE, "0")
    ampere = GPUS["A100-40GB"]
    assert (products.asked("auto", ampere), products.in_words("auto", ampere)) == ("highest", "highest")


@pytest.mark.parametrize("wanted", [name for name in MATMUL_PRECISIONS if name != "auto"])
def test_every_other_value_is_asked_for_and_told_as_it_is(wanted):
    for hardware in (CPU, *GPUS.values()):
        assert products.asked(wanted, hardware) == (None if wanted == "default" else wanted)
        assert products.in_words(wanted, hardware) == wanted
