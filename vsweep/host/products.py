"""What `train.matmul_precision` comes to on a device: what JAX is asked for, and what the tables say of it.

`auto` leaves JAX to what it does by itself where that rounds more than "highest". Elsewhere, on a CPU and on a GPU
without TF32, it asks for "highest", as the default of the field does, so that programs and results are the same to the
bit.
"""

import os

from vsweep.host.hardware import Hardware

AUTO, JAX_DEFAULT, HIGHEST = "auto", "default", "highest"
TF32_OVERRIDE = "NVIDIA_TF32_OVERRIDE"  # of the system: with 0 NVIDIA's libraries use no TF32, whatever JAX asks for


def asked(wanted: str, hardware: Hardware) -> str | None:
    """For `jax.default_matmul_precision`; None leaves it to JAX."""
    told = in_words(wanted, hardware)
    return None if wanted == JAX_DEFAULT or (wanted == AUTO and told != HIGHEST) else told


def in_words(wanted: str, hardware: Hardware) -> str:
    """For a table: `wanted`, or what `auto` comes to. "default" where it is not known what JAX does by itself."""
    if wanted != AUTO:
        return wanted
    if hardware.kind == "cpu":
        return HIGHEST
    if hardware.kind.startswith("TPU"):
        return "bfloat16"
    if hardware.capability >= 8 and os.environ.get(TF32_OVERRIDE) != "0":
        return "tensorfloat32"
    return HIGHEST if hardware.capability else JAX_DEFAULT
