"""From what was measured to the table: medians, ratios to vsweep in the same run, shares of the machine's peak."""

import pandas as pd

from benchmarks.common import median
from benchmarks.stack import floor
from benchmarks.stack.contestants import LANES, PEAKS, PRODUCTS, VSWEEP, Lane
from benchmarks.stack.run import Measured, Run

FORWARD_TIMES = 3  # a training step is three forward passes' worth of products
COLUMNS = {
    "width": "of the model",
    "contestant": "who, with the number of models it trains at once",
    "kind": "the name of the contestant for --contestants",
    "models": "trained at once; 1: one after the other",
    "ms_model_step": "milliseconds a training step of one model, median of the rounds",
    "ms_fastest": "the same, fastest round",
    "ms_slowest": "the same, slowest round",
    "run_tokens_s": "label tokens a second, over all models",
    "vsweep_ratio": "run_tokens_s of vsweep's reference stack in the same run over this contestant's",
    "floor_ratio": "ms_model_step over the time of its matmuls at the best rate measured in this run",
    "share_of_peak": "counted FLOP/s over the peak: the published one of the device and format, else the measured one",
    "compile_s": "seconds from nothing to the first steps, less the same steps again",
    "rounds": "measurements behind the median",
    "note": "",
}


def table_of(found: Run) -> pd.DataFrame:
    """One row a contestant and width; those without a measurement have a note."""
    peaks = measured_peaks(found.measured)
    rows = [_row(found, one, peaks) for one in found.measured if one.entry.kind not in PEAKS]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.sort_values("width", kind="stable", ignore_index=True)


def measured_peaks(measured: list[Measured]) -> dict[str, float]:
    """FLOP/s by matmul precision: the best kind of large product, by its median over the run."""
    seconds: dict[str, list[float]] = {}
    flops: dict[str, float] = {}
    for one in measured:
        if one.entry.kind in PEAKS and one.seconds:
            seconds.setdefault(one.entry.kind, []).extend(one.seconds)
            flops[one.entry.kind] = one.built.flops
    best: dict[str, float] = {}
    for kind, times in seconds.items():
        precision = LANES[kind].matmul_precision
        best[precision] = max(best.get(precision, 0.0), flops[kind] / median(times))
    return best


def reference_row(table: pd.DataFrame, width: int, models: int) -> pd.Series | None:
    """vsweep's row to which the others are compared: `models` at once, or the most that were measured up to that."""
    ours = table[(table.kind == VSWEEP) & (table.width == width) & (table.models <= models)]
    ours = ours.dropna(subset="ms_model_step")
    return None if ours.empty else ours.sort_values("models").iloc[-1]


def _row(found: Run, one: Measured, peaks: dict[str, float]) -> dict:
    lane = LANES[one.entry.kind]
    row = {"width": one.width, "contestant": one.entry.label, "kind": lane.kind, "models": one.entry.models}
    row |= {"rounds": len(one.seconds), "note": one.note}
    if not one.seconds:
        return row
    row["models"] = one.built.models
    times = [_model_step_s(seconds, one) for seconds in one.seconds]
    problem = lane.problem(found.settings.problem.at(one.width))
    flops, peak = floor.model_step_flops(problem), _peak(lane, found.device, peaks)
    typical = median(times)
    row |= {
        "ms_model_step": 1e3 * typical,
        "ms_fastest": 1e3 * min(times),
        "ms_slowest": 1e3 * max(times),
        "run_tokens_s": problem.label_tokens / typical,
        "compile_s": one.built.compile_s,
        "share_of_peak": flops / typical / peak if peak else None,
    }
    if lane.matmul_precision in peaks:
        row["floor_ratio"] = typical * peaks[lane.matmul_precision] / flops
    reference = _reference_s(found, one.width)
    if reference is not None and problem.batch_size == found.settings.problem.batch_size:
        row["vsweep_ratio"] = typical / reference
    return row


def _model_step_s(seconds: float, one: Measured) -> float:
    """Seconds of one training step of one model, of the time of a step of all of them."""
    return seconds / one.built.models * (FORWARD_TIMES if one.entry.kind == PRODUCTS else 1)


def _reference_s(found: Run, width: int) -> float | None:
    """Seconds a model-step of the largest stack of vsweep up to the reference size."""
    ours = [
        one
        for one in found.measured
        if one.entry.kind == VSWEEP
        and one.width == width
        and one.seconds
        and one.entry.models <= found.settings.reference
    ]
    if not ours:
        return None
    largest = max(ours, key=lambda one: one.entry.models)
    return _model_step_s(median(list(largest.seconds)), largest)


def _peak(lane: Lane, device: str, peaks: dict[str, float]) -> float | None:
    return floor.published_peak(device, lane.matmul_precision) or peaks.get(lane.matmul_precision)
