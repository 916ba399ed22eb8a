"""Controllers on emulated processors: the same bits as Python, and the instructions they take."""

from dataclasses import replace

import numpy as np
import pytest

from yannctl.errors import ModelError, NotInstalledError
from yannctl.export import write_c
from yannctl.export.pil import boards, verify_on_processor
from yannctl.export.residual_tables import random_residual


@pytest.fixture
def emulated(tool):
    """Cross-compiler and emulator."""
    for name, package in boards.TOOLS.items():
        tool(name, package)


@pytest.mark.parametrize(("cpu", "n_points"), [("cortex-m4", 2000), ("cortex-m7", 600), ("cortex-m3", 300)])
def test_every_bit_on_the_processor(integrator_law, lines, tmp_path, emulated, cpu, n_points):
    residual = random_residual((3, 8, 5, 1), "gelu", 1.0, 0, "float")
    residual = replace(residual, angles=(1,), centre=residual.centre[:1], scale=residual.scale[:1])
    export = write_c(integrator_law, tmp_path, precision="float", search="tree", extension=residual, clip=lines)
    found = verify_on_processor(export, integrator_law, cpu, n_points)
    assert found.ok, found
    assert found.n_points > n_points
    assert found.flash_bytes <= export.flash_bytes * (2 if cpu == "cortex-m3" else 1)  # soft float brings a library
    assert found.ram_bytes <= export.ram_bytes
    assert 0 < found.instructions_median <= found.instructions_max


def test_double_precision_on_the_processor(integrator_law, tmp_path, emulated):
    export = write_c(integrator_law, tmp_path, precision="double", search="tree")
    assert verify_on_processor(export, integrator_law, "cortex-m4", n_points=300).ok


def test_instructions_repeat_and_a_wrong_constant_is_found(integrator_law, lines, tmp_path, emulated):
    export = write_c(integrator_law.merged(), tmp_path, precision="float", search="tree", outside="safe", clip=lines)
    first, second = (verify_on_processor(export, integrator_law, n_points=600) for _ in range(2))
    assert first.ok
    assert first == second
    assert first.instructions_median <= 400
    assert first.instructions_max <= 1000
    text = export.source.read_text()
    gain = float(export.reference.tables.F[0, 0, 0]).hex()
    assert gain in text
    export.source.write_text(
        text.replace(gain, float(np.nextafter(export.reference.tables.F[0, 0, 0], np.float32(9))).hex())
    )
    assert verify_on_processor(export, integrator_law, n_points=600).n_different_bits > 0


@pytest.mark.parametrize(("kind", "most"), [("relu", 8000), ("tanh", 12000), ("gelu", 12000)])
def test_instructions_of_a_4_32_32_1_extension(integrator_law, tmp_path, emulated, kind, most):
    from yannctl.export.pil.network import measure_network

    found = measure_network(random_residual((4, 32, 32, 1), kind, 1.0, 0, "float"), "cortex-m4", n_points=200)
    assert found.ok
    assert found.instructions_max <= most


@pytest.mark.slow
@pytest.mark.parametrize("cpu", ["cortex-m4", "cortex-m7", "cortex-m3"])
def test_a_hundred_thousand_points(integrator_law, lines, tmp_path, emulated, cpu):
    export = write_c(integrator_law, tmp_path, precision="float", search="tree", clip=lines)
    found = verify_on_processor(export, integrator_law, cpu, n_points=100_000)
    assert found.ok
    assert found.n_points > 100_000


def test_missing_tools_and_unknown_processors_are_named(integrator_law, tmp_path, monkeypatch):
    export = write_c(integrator_law, tmp_path, precision="float")
    with pytest.raises(ModelError, match="cortex-m4"):
        verify_on_processor(export, integrator_law, "z80", n_points=30)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotInstalledError, match="qemu-system-arm"):
        verify_on_processor(export, integrator_law, n_points=30)
