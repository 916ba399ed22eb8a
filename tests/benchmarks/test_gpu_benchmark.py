"""The GPU's benchmark without a GPU, and its checks on the CPU."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location("gpu_benchmark", BENCHMARKS / "gpu.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "gpu_benchmark", module)
    spec.loader.exec_module(module)
    return module


def test_nothing_is_measured_without_a_gpu(monkeypatch, gpu, tmp_path, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main(["--json", str(tmp_path / "gpu.json")]) == 0
    assert "not measured: no GPU" in capsys.readouterr().out
    assert not (tmp_path / "gpu.json").exists()


def test_a_wrong_network_is_found(monkeypatch, gpu):
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "none")
    monkeypatch.setattr(gpu, "CHECKED", 1000)
    for kind in (torch.Tensor, torch.nn.Module):
        monkeypatch.setattr(kind, "cuda", lambda self: self)
    law = gpu.solve_mpqp(gpu.problem("P1_N10"))
    row = gpu.network_row(law, "lattice", "float64", False, 0.01, 1000)
    assert row["exact"]
    assert row["batch_per_s"] > 0.0
    encode = gpu.encode_actor

    def wrong(*given):
        actor = encode(*given)
        with torch.no_grad():
            actor.law[0].g += 1e-3
        return actor

    monkeypatch.setattr(gpu, "encode_actor", wrong)
    assert not gpu.network_row(law, "lattice", "float64", False, 0.01, 1000)["exact"]
