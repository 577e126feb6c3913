import importlib.util
import sys

import numpy as np
import pytest

from tests.vsweep import small
from vsweep import export, saved_run
from vsweep.config.problems import ConfigError

RUN = "d2.8k-s0"


@pytest.mark.parametrize("name", ["model.npz", "model.safetensors"])
def test_arrays_come_back_bit_for_bit(finished_sweep, tmp_path, name):
    load = pytest.importorskip("safetensors.numpy").load_file if name.endswith("tensors") else np.load
    shapes = export.export(finished_sweep, RUN, tmp_path / name)
    read = dict(load(tmp_path / name))
    arrays = saved_run.load_run(finished_sweep, RUN).arrays()
    assert shapes == {key: array.shape for key, array in arrays.items()}
    assert "attention_0.out.kernel" in read
    assert set(read) == set(arrays)
    assert all(read[key].dtype == np.float32 and small.same_bits(read[key], arrays[key]) for key in read)


def test_the_command_prints_names_and_shapes(finished_sweep, tmp_path, capsys):
    to = tmp_path / "model.npz"
    assert export.main([str(finished_sweep), RUN, "--to", str(to)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split() == ["final_norm.scale", "4"] for line in lines)
    assert lines[-1] == str(to)


def test_an_unknown_ending_is_answered_before_loading(tmp_path):
    with pytest.raises(ConfigError, match=r"got .*model\.pt; allowed: a file that ends in \.npz or \.safetensors"):
        export.export(tmp_path / "nowhere", RUN, tmp_path / "model.pt")


def test_a_missing_library_is_answered_with_its_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install safetensors"):
        export.export(tmp_path / "nowhere", RUN, tmp_path / "model.safetensors")


def test_an_unknown_run_writes_nothing(finished_sweep, tmp_path, capsys):
    assert export.main([str(finished_sweep), "d2.9k-s0", "--to", str(tmp_path / "model.npz")]) == 2
    assert "did you mean d2.8k-s0?" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
