"""The model of a GPU's time: how kernels and bytes are counted, and what is made of them."""

import pandas as pd
import pytest

from benchmarks.gpu_model import __main__ as command
from benchmarks.gpu_model import compiled, counts, measured, prediction
from vsweep.host.hardware import GPUS

# Two kernels that read and write 64 floats each way, one that reads a slice, one that writes one, a matmul, a copy.
TEXT = """HloModule jit_train, is_scheduled=true, input_output_alias={ {0}: (0, {}, may-alias) }

%sliced (param_0: f32[8,64], param_1: s32[]) -> f32[64] {
  %param_0 = f32[8,64]{1,0} parameter(0)
  %param_1 = s32[] parameter(1)
  %zero = s32[] constant(0)
  %slice = f32[1,64]{1,0} dynamic-slice(%param_0, %param_1, %zero), dynamic_slice_sizes={1,64}
  ROOT %row = f32[64]{0} bitcast(%slice)
}

%written (param_0: f32[8,64], param_1: f32[1,64], param_2: s32[]) -> f32[8,64] {
  %param_0 = f32[8,64]{1,0} parameter(0)
  %param_1 = f32[1,64]{1,0} parameter(1)
  %param_2 = s32[] parameter(2)
  ROOT %update = f32[8,64]{1,0} dynamic-update-slice(%param_0, %param_1, %param_2, %param_2)
}

%added (param_0: f32[64], param_1: f32[64]) -> f32[64] {
  %param_0 = f32[64]{0} parameter(0)
  %param_1 = f32[64]{0} parameter(1)
  ROOT %add = f32[64]{0} add(%param_0, %param_1)
}

%body (arg: (s32[], f32[8,64], f32[64])) -> (s32[], f32[8,64], f32[64]) {
  %arg = (s32[], f32[8,64]{1,0}, f32[64]{0}) parameter(0)
  %index = s32[] get-tuple-element(%arg), index=0
  %table = f32[8,64]{1,0} get-tuple-element(%arg), index=1
  %state = f32[64]{0} get-tuple-element(%arg), index=2
  %row = f32[64]{0} fusion(%table, %index), kind=kLoop, calls=%sliced
  %sum = f32[64]{0} fusion(%row, %state), kind=kLoop, calls=%added
  %twice = f32[64]{0} fusion(%sum, %sum), kind=kLoop, calls=%added
  %product = (f32[8,8]{1,0}, s8[4194304]{0}) custom-call(%twice, %state), custom_call_target="__cublas$gemm"
  %copied = f32[64]{0} copy(%twice)
  %wide = f32[1,64]{1,0} bitcast(%copied)
  %new = f32[8,64]{1,0} fusion(%table, %wide, %index), kind=kLoop, calls=%written
  ROOT %out = (s32[], f32[8,64]{1,0}, f32[64]{0}) tuple(%index, %new, %copied)
}

%condition (arg.1: (s32[], f32[8,64], f32[64])) -> pred[] {
  %arg.1 = (s32[], f32[8,64]{1,0}, f32[64]{0}) parameter(0)
  ROOT %less = pred[] constant(true)
}

ENTRY %main (p: f32[8,64], q: f32[64]) -> f32[64] {
  %p = f32[8,64]{1,0} parameter(0)
  %q = f32[64]{0} parameter(1)
  %i = s32[] constant(0)
  %start = (s32[], f32[8,64]{1,0}, f32[64]{0}) tuple(%i, %p, %q)
  %loop = (s32[], f32[8,64]{1,0}, f32[64]{0}) while(%start), condition=%condition, body=%bodyKNOWN
  ROOT %done = f32[64]{0} get-tuple-element(%loop), index=2
}
""".replace("KNOWN", ', backend_config={"known_trip_count":{"n":"128"}}')
FLOATS = 64 * 4  # bytes


def test_a_step_is_counted_kernel_by_kernel():
    sliced, added, twice, copied = 2 * FLOATS + 4, 3 * FLOATS, 2 * FLOATS, 2 * FLOATS
    product, written = 2 * FLOATS + FLOATS, 2 * FLOATS + 4
    total = sliced + added + twice + copied + product + written
    assert counts.step_counts(TEXT) == counts.Counts(kernels=6, bytes=total, copies=1)


def test_a_trip_count_is_seen_where_it_is_known():
    assert counts.trip_count(TEXT) == 128
    assert counts.trip_count(TEXT.replace("known_trip_count", "unknown")) is None


def test_an_exchange_between_devices_is_seen():
    assert counts.collectives(TEXT) == []
    assert counts.collectives(TEXT.replace("copy(%twice)", "all-reduce(%twice), to_apply=%added")) == ["copied"]


def test_a_program_without_a_loop_is_no_training_program():
    with pytest.raises(ValueError, match="this one 0"):
        counts.step_counts(TEXT.replace("while(", "call("))


@pytest.fixture(scope="module")
def recorded() -> pd.DataFrame:
    return command.read(command.RECORDED)


def test_every_card_is_described_and_planned():
    described = {path.stem for path in compiled.CARDS.glob("*.txtpb")}
    assert described == set(compiled.OPTIONS)
    for name, option in compiled.OPTIONS.items():
        capability = GPUS[option].capability
        spec = (compiled.CARDS / f"{name}.txtpb").read_text(encoding="utf-8")
        assert f"cuda_compute_capability {{ major: {int(capability)} minor: {round(10 * (capability % 1))} " in spec
        assert measured.card_here(GPUS[option].kind) == name


def test_the_record_has_every_program(recorded):
    programs = {(card, width, slots) for card in command.CARDS for width in command.WIDTHS for slots in command.SLOTS}
    assert set(zip(recorded.card, recorded.width, recorded.slots, strict=True)) == programs
    assert (recorded.kernels > 0).all()


def test_a_line_goes_through_the_recorded_counts(recorded):
    row = recorded[(recorded.card == "t4") & (recorded.width == 64) & (recorded.slots == 15)].iloc[0]
    assert prediction.between(recorded, "t4", 64, 15) == {"kernels": row.kernels, "bytes": row.bytes}
    middle = prediction.between(recorded, "t4", 40, 8)
    assert prediction.between(recorded, "t4", 40, 1)["bytes"] < middle["bytes"] < row.bytes


def test_a_step_is_the_sum_of_its_parts():
    time = prediction.step_time("t4", 100, 256e6, 4.05e9)
    assert time.kernels_s == pytest.approx(2.2e-4)
    assert time.bytes_s == pytest.approx(1e-3)
    assert time.products_s == pytest.approx(1e-3)
    assert time.total_s == pytest.approx(2.22e-3)


def test_predictions_are_marked_and_stand_beside_measurements(recorded):
    found = pd.DataFrame([{"card": "t4", "width": 16, "slots": 15, "measured_ms": 4.321}])
    said = command.in_words(recorded[recorded.card == "t4"], found)
    assert said.startswith("PREDICTED")
    assert "4.32" in said
    assert "Training all of `addition:full`" in said


TINY = {
    "task": {"digits": 1, "validation_examples": 40},
    "model": {"layers": 1},
    "train": {"batch_size": 4, "chunk_steps": 4, "curve_examples": 32, "final_examples": 32},
    "sweep": {"budget": (700,), "seed": (0, 1)},
}


def test_measuring_ends_when_the_time_is_over():
    """On whatever device is here: what is timed is the program that a sweep would run."""
    steps = list(measured.measure([(4, 2), (4, 1)], limit_s=0.1, turn_s=0.01, overrides=TINY))
    assert [(step.width, step.slots) for step in steps] == [(4, 2)]
    assert steps[0].measured_ms > 0


def test_without_a_gpu_nothing_is_measured(capsys, tmp_path):
    assert command.main(["--measure", f"--output={tmp_path}"]) == 1
    assert "no GPU is used here" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_without_the_compiler_nothing_is_recorded(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(compiled, "PLUGIN", "jax_plugins.of_nobody")
    assert command.main(["--record", f"--output={tmp_path}"]) == 1
    assert "make gpu-compile" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
