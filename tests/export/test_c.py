"""Exported C: equal to the Python law in every bit, free of warnings, and honest about bad inputs."""

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from yannctl.errors import ModelError
from yannctl.export import c_check, check_c, write_c
from yannctl.export.law_tables import LawTables
from yannctl.pwa.law import PwaLaw

needs_compiler = pytest.mark.skipif(not c_check.find_compiler(), reason="no C compiler; apt-get install gcc")


def hand_made(H, k, rows, F, g, low, high):
    """A law from lists, in physical units."""
    return PwaLaw(
        row_start=np.concatenate([[0], np.cumsum(rows)]).astype(np.int64),
        H=np.array(H, float),
        k=np.array(k, float),
        F=np.array(F, float),
        g=np.array(g, float),
        theta_min=np.array(low, float),
        theta_max=np.array(high, float),
    )


@pytest.fixture
def saturation():
    """U = sat(-0.7 x, ±1) on [-3, 3]."""
    knee = 1 / 0.7
    return hand_made(
        H=[[-1 / 3], [1 / 3], [-1 / 3], [1 / 3], [-1 / 3], [1 / 3]],
        k=[1.0, -knee / 3, knee / 3, knee / 3, -knee / 3, 1.0],
        rows=[2, 2, 2],
        F=[[[0.0]], [[-0.7]], [[0.0]]],
        g=[[1.0], [0.0], [-1.0]],
        low=[-3.0],
        high=[3.0],
    )


@pytest.fixture
def strips():
    """Two outputs on a rotated saturation in the plane, u1 = sat(K x), u2 = 3 u1 + 0.1."""
    K = np.array([0.61803, -1.41421])
    scale = np.array([2.0, 5.0])
    row = K * scale / np.linalg.norm(K * scale) / scale
    knee = row @ K / (K @ K)
    box = np.vstack([np.diag(1 / scale), -np.diag(1 / scale)])
    H = np.vstack([row, box, row, -row, box, -row, box])
    k = np.concatenate([[-knee], np.ones(4), [knee, knee], np.ones(4), [-knee], np.ones(4)])
    zero = np.zeros(2)
    F = [[zero, zero], [K, 3 * K], [zero, zero]]
    return hand_made(H, k, [5, 6, 5], F, [[-1.0, -2.9], [0.0, 0.1], [1.0, 3.1]], -scale, scale)


@needs_compiler
@pytest.mark.parametrize("precision", ["double", "float"])
@pytest.mark.parametrize("name", ["saturation", "strips"])
def test_every_bit_agrees(name, precision, request, tmp_path):
    law = request.getfixturevalue(name)
    check = check_c(write_c(law, tmp_path, precision=precision), law, n_points=6000, seed=1)
    assert check.ok, check.reason
    assert check.n_different_bits == check.n_wrong_status == 0
    assert check.n_points > 6000
    assert check.max_abs == 0.0 if precision == "double" else check.max_abs < 1e-5
    assert not check.skipped


def test_rule_against_plain_loops(strips):
    """The vectorised rule equals the rule written out with Python floats."""
    theta = np.random.default_rng(0).uniform(-6, 6, (200, 2))
    found = LawTables.of(strips).evaluate(theta)
    for t, u, region in zip(theta, found.u, found.region, strict=True):
        worst = [
            max((h[0] * t[0] + h[1] * t[1]) - k for h, k in zip(strips.H[s:e], strips.k[s:e], strict=True))
            for s, e in zip(strips.row_start[:-1], strips.row_start[1:], strict=True)
        ]
        best = worst.index(min(worst))
        assert region == best
        assert [*u] == [(f[0] * t[0] + f[1] * t[1]) + g for f, g in zip(strips.F[best], strips.g[best], strict=True)]


@needs_compiler
@pytest.mark.parametrize("level", ["-O0", "-O1", "-O2", "-O3"])
def test_no_warning_and_same_bits_at_every_level(strips, tmp_path, level):
    export = write_c(strips, tmp_path, out_min=[-1.0, -2.9], out_max=[1.0, 3.1])
    library, errors = c_check.compile_c(export, tmp_path, c_check.find_compiler(), (level, "-ffp-contract=off"))
    assert library is not None, errors
    tables = LawTables.of(strips)
    theta = c_check.check_points(strips, 900, seed=2)[:-12]
    u, status = c_check.run_c(library, export, theta)
    expected = tables.evaluate(theta)
    outside = expected.violation > 1e-9
    assert 0 < outside.sum() < len(theta)
    np.testing.assert_array_equal(status, outside)
    np.testing.assert_array_equal(u[~outside], expected.u[~outside])
    np.testing.assert_array_equal(u[outside], np.clip(expected.u[outside], [-1.0, -2.9], [1.0, 3.1]))


@needs_compiler
def test_bad_inputs_give_the_safe_output(saturation, tmp_path):
    export = write_c(saturation, tmp_path, name="law_1", safe_output=[-0.25])
    library, errors = c_check.compile_c(export, tmp_path, c_check.find_compiler())
    assert library is not None, errors
    bad = np.array([[np.nan], [np.inf], [-np.inf], [1.0]])
    u, status = c_check.run_c(library, export, bad)
    np.testing.assert_array_equal(status, [2, 2, 2, 0])
    np.testing.assert_array_equal(u[:, 0], [-0.25, -0.25, -0.25, -0.7])


@needs_compiler
def test_a_wrong_export_is_found(saturation, strips, tmp_path):
    export = write_c(saturation, tmp_path)
    source = tmp_path / "controller.c"
    source.write_text(source.read_text().replace((-0.7).hex(), (-0.7000000001).hex()))
    check = check_c(export, saturation, n_points=300)
    assert not check.ok
    assert check.n_different_bits > 0
    source.write_text("int broken(void) { int unused; return 0; }\n")
    assert "unused" in check_c(export, saturation, n_points=300).reason


@needs_compiler
def test_fast_math_is_refused(saturation, tmp_path):
    export = write_c(saturation, tmp_path)
    library, errors = c_check.compile_c(export, tmp_path, c_check.find_compiler(), ("-O2", "-ffast-math"))
    assert library is None
    assert "NaN" in errors


def test_without_a_compiler_it_says_what_to_install(saturation, tmp_path, monkeypatch):
    monkeypatch.setenv("CC", "")
    monkeypatch.setenv("PATH", str(tmp_path))
    check = check_c(write_c(saturation, tmp_path), saturation, n_points=10)
    assert check.skipped
    assert not check.ok
    assert "apt-get install gcc" in check.reason


def test_source_has_no_heap_recursion_or_library_call(strips, tmp_path):
    export = write_c(strips, tmp_path, precision="float")
    source = (tmp_path / "controller.c").read_text()
    assert re.findall(r"#include\s+(\S+)", source) == ['"controller.h"', "<float.h>"]
    called = set(re.findall(r"\b(\w+)\s*\(", re.sub(r"/\*.*?\*/", "", source, flags=re.S)))
    words = {"for", "if", "while", "return", "defined"}
    assert called - words <= {
        "is_finite", "reject", "row_value", "consider", "nearest", "find_law", "controller_evaluate",
        "controller_control",
    }  # fmt: skip
    assert "0x1.0000000000000p+0f" in source
    header = (tmp_path / "controller.h").read_text()
    assert 'extern "C"' in header
    assert f"{export.law_id:08x}" in header


@needs_compiler
def test_stated_sizes_bound_the_compiled_ones(strips, tmp_path):
    export = write_c(strips, tmp_path)
    tables = LawTables.of(strips)
    assert export.operation_bound == 16 * (2 * 2 + 3) + 2 * (2 * 2 + 4) + 2 * 2 + 1
    assert export.flash_bytes >= 16 * 3 * 8 + 3 * 2 * 3 * 8
    command = [*c_check.find_compiler(), "-std=c99", "-Os", "-fno-asynchronous-unwind-tables", "-fstack-usage", "-c"]
    subprocess.run([*command, str(tmp_path / "controller.c"), "-o", str(tmp_path / "a.o")], check=True, cwd=tmp_path)
    sizes = subprocess.run(["size", str(tmp_path / "a.o")], capture_output=True, text=True, check=True)
    text, data, bss = map(int, sizes.stdout.splitlines()[1].split()[:3])
    assert text <= export.flash_bytes
    assert data == bss == 0
    stack = sum(int(line.split("\t")[1]) for line in Path(tmp_path / "a.su").read_text().splitlines())
    assert stack + (tables.n_theta + tables.n_out) * 8 <= export.ram_bytes


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("name", {"name": "2fast"}),
        ("name", {"name": "../x"}),
        ("name", {"name": "float"}),
        ("precision", {"precision": "half"}),
        ("safe_output", {"safe_output": [0.0, 0.0]}),
        ("safe_output", {"safe_output": [np.nan]}),
        ("out_min", {"out_min": [0.0]}),
        ("out_min", {"out_min": [1.0], "out_max": [0.0]}),
    ],
)
def test_mistakes_name_their_field(saturation, tmp_path, field, change):
    with pytest.raises(Exception, match=r"precision|half" if field == "precision" else field):
        write_c(saturation, tmp_path, **change)
    assert list(tmp_path.iterdir()) == []


def test_partial_law_is_refused(saturation, tmp_path):

    with pytest.raises(ModelError, match="partial"):
        write_c(replace(saturation, status="partial", message="time budget"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_hostile_names_stay_inside_comments(saturation, tmp_path):

    law = replace(saturation, theta_names=('a */ int x; /* "\\\n??/',))
    write_c(law, tmp_path)
    if c_check.find_compiler():
        assert check_c(write_c(law, tmp_path), law, n_points=30).ok
    assert "int x; /*" not in (tmp_path / "controller.h").read_text()


def test_only_a_law_is_written(tmp_path):
    with pytest.raises(ModelError, match=r"law: only a law can be written as C, got int; give the PwaLaw"):
        write_c(3, tmp_path)
    assert not any(tmp_path.iterdir())
