"""Generated controllers: tree, learned part and filter equal their numpy reference in every bit."""

import itertools
import shutil
import subprocess
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from yannctl.errors import FileFormatError, ModelError
from yannctl.export import (
    c_check,
    check_c,
    controller_parts,
    controller_tensors,
    read_parts,
    save_controller,
    write_c,
)
from yannctl.export.residual_tables import random_residual
from yannctl.yann import Bounds, encode_actor, extend

needs_compiler = pytest.mark.skipif(not c_check.find_compiler(), reason="no C compiler; apt-get install gcc")
BOX = Bounds([-5, -5], [5, 5], [-1], [1])


def slow(*values):
    """A combination whose every part another one covers too."""
    return pytest.param(*values, marks=pytest.mark.slow)


@needs_compiler
@pytest.mark.parametrize(
    ("precision", "outside"),
    [("float", "nearest"), ("double", "safe"), slow("float", "safe"), slow("double", "nearest")],
)
def test_the_tree_gives_the_bits_of_the_scan(integrator_law, reactor_law, tmp_path, precision, outside):
    for law in (integrator_law.merged(), reactor_law):
        export = write_c(law, tmp_path, precision=precision, search="tree", outside=outside)
        check = check_c(export, law, n_points=9000, seed=3)
        assert check.ok, check
        assert check.max_abs == 0.0 if precision == "double" else check.max_abs < 1e-5


@needs_compiler
@pytest.mark.parametrize(
    ("precision", "kind"),
    [
        ("float", "gelu"), ("double", "tanh"), ("float", "relu"),
        slow("double", "gelu"), slow("float", "tanh"), slow("double", "relu"),
    ],
)  # fmt: skip
def test_law_learned_part_and_filter_agree_in_every_bit(integrator_law, lines, tmp_path, precision, kind):
    residual = random_residual((3, 9, 6, 1), kind, 1.0, 0, precision)
    residual = replace(residual, angles=(0,), centre=residual.centre[:1], scale=residual.scale[:1])
    for clip, search in ((None, "scan"), (lines, "tree")):
        export = write_c(integrator_law, tmp_path, precision=precision, search=search, extension=residual, clip=clip)
        check = check_c(export, integrator_law, n_points=3000, seed=4)
        assert check.ok, check


@needs_compiler
def test_the_filter_equals_the_formula(integrator_law, lines, tmp_path):
    export = write_c(integrator_law, tmp_path, clip=lines)
    library, errors = c_check.compile_c(export, tmp_path, c_check.find_compiler())
    assert library is not None, errors
    theta = np.random.default_rng(0).uniform(-5, 5, (4000, 2))
    u, status = c_check.run_c(library, export, theta)
    low = np.maximum(-1.0, (theta @ lines.F_low.T + lines.g_low).max(axis=1))
    high = np.minimum(1.0, (theta @ lines.F_high.T + lines.g_high).min(axis=1))
    inside = (low <= high) & (status != 1) & np.isfinite(integrator_law(theta)[:, 0])
    wanted = np.clip(integrator_law(theta[inside])[:, 0], low[inside], high[inside])
    np.testing.assert_allclose(u[inside, 0], wanted, atol=1e-12)
    assert {0, 3, 5} <= set(status.tolist())
    assert np.abs(u).max() <= 1.0


@needs_compiler
def test_a_filter_of_many_lines_gives_the_same(integrator_law, lines, tmp_path):
    """More lines than are unrolled: the tables are read, the bits stay."""
    many = SimpleNamespace(**{**vars(lines), "F_low": np.tile(lines.F_low, (9, 1)), "g_low": np.tile(lines.g_low, 9)})
    export = write_c(integrator_law, tmp_path, precision="float", clip=many)
    assert "F_LOW[18]" in export.source.read_text()
    assert check_c(export, integrator_law, n_points=3000).ok
    theta = np.random.default_rng(0).uniform(-5, 5, (2000, 2)).astype(np.float32)
    few = write_c(integrator_law, tmp_path, precision="float", clip=lines).reference
    np.testing.assert_array_equal(export.reference.evaluate(theta)[0], few.evaluate(theta)[0])


def test_a_learner_that_gives_nan_leaves_the_law(integrator_law, lines, tmp_path):
    huge = random_residual((2, 4, 1), "relu", 1.0, 0, "double")
    huge = replace(huge, weights=(huge.weights[0] * 1e300, huge.weights[1] * 1e300))
    export = write_c(integrator_law, tmp_path, extension=huge, clip=lines)
    theta = np.random.default_rng(0).uniform(-1, 1, (500, 2))
    u, status = export.reference.evaluate(theta)
    law, _ = export.reference.law(theta)
    lost = status == 4
    assert lost.any()
    wanted, _ = export.reference.clip.apply(theta, law[:, 0], law[:, 0])
    np.testing.assert_array_equal(u[lost, 0], wanted[lost])
    assert np.isfinite(u).all()
    if c_check.find_compiler():
        assert check_c(export, integrator_law, n_points=2000).ok


def test_the_reference_equals_the_torch_policy(integrator_law, tmp_path):
    """At the start the bits of the law; after training as close as rounding allows."""
    actor = extend(encode_actor(integrator_law), BOX, hidden=(16, 16), seed=3)
    theta = np.random.default_rng(1).uniform(-2, 2, (2000, 2))
    theta = theta[np.isfinite(integrator_law(theta)[:, 0])]
    export = write_c(integrator_law, tmp_path, extension=actor)
    np.testing.assert_array_equal(export.reference.evaluate(theta)[0], integrator_law(theta))
    with torch.no_grad():
        for parameter in actor.learned_parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(5)))
        wanted = actor(torch.as_tensor(theta)).numpy()
    found = write_c(integrator_law, tmp_path, extension=actor).reference.evaluate(theta)[0]
    assert np.abs(wanted - integrator_law(theta)).max() > 0.1
    np.testing.assert_allclose(found, wanted, atol=1e-13)
    single = write_c(integrator_law, tmp_path, precision="float", extension=actor).reference
    np.testing.assert_allclose(single.evaluate(theta.astype(np.float32))[0], wanted, atol=1e-5)


@needs_compiler
@pytest.mark.parametrize("precision", ["float", slow("double")])
def test_compilers_and_levels_give_the_same_bits_without_a_warning(integrator_law, lines, tmp_path, precision):
    residual = random_residual((3, 6, 5, 1), "gelu", 1.0, 0, precision)
    residual = replace(residual, angles=(1,), centre=residual.centre[:1], scale=residual.scale[:1])
    export = write_c(
        integrator_law, tmp_path, precision=precision, search="tree", extension=residual, clip=lines,
        out_min=[-1.0], out_max=[1.0],
    )  # fmt: skip
    with np.errstate(over="ignore"):
        theta = c_check.check_points(integrator_law, 1500, seed=2).astype(export.reference.dtype)
    wanted, wanted_status = export.reference.evaluate(theta)
    assert {0, 2, 3} <= set(wanted_status.tolist())
    compilers = [name for name in ("gcc", "clang") if shutil.which(name)]
    for compiler, level in itertools.product(compilers, ("-O0", "-O1", "-O2", "-O3")):
        folder = tmp_path / f"{compiler}{level}"
        folder.mkdir()
        library, errors = c_check.compile_c(export, folder, (compiler,), (level, "-ffp-contract=off"))
        assert library is not None, errors
        u, status = c_check.run_c(library, export, theta)
        np.testing.assert_array_equal(c_check.bits(u), c_check.bits(wanted))
        np.testing.assert_array_equal(status, wanted_status)


@needs_compiler
def test_sanitizers_find_nothing(integrator_law, lines, tmp_path):
    residual = random_residual((3, 6, 5, 1), "gelu", 1.0, 0, "float")
    residual = replace(residual, angles=(1,), centre=residual.centre[:1], scale=residual.scale[:1])
    export = write_c(integrator_law, tmp_path, precision="float", search="tree", extension=residual, clip=lines)
    with np.errstate(over="ignore"):
        points = c_check.check_points(integrator_law, 3000, seed=6).astype(np.float32)
    (tmp_path / "points.bin").write_bytes(points.tobytes())
    (tmp_path / "main.c").write_text(
        '#include "controller.h"\n#include <stdio.h>\nint main(void)\n{\n    controller_real x[2];\n'
        "    controller_real u[1];\n    long n = 0;\n"
        "    while (fread(x, sizeof(x), 1, stdin) == 1) {\n        (void)controller_control(x, u);\n"
        "        n += 1;\n    }\n"
        '    printf("%ld\\n", n);\n    return 0;\n}\n'
    )
    flags = ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-ffp-contract=off"]
    binary = tmp_path / "main"
    command = [*c_check.find_compiler(), "-std=c99", *flags, str(tmp_path / "main.c"), str(export.source)]
    subprocess.run([*command, "-o", str(binary)], check=True)
    with open(tmp_path / "points.bin", "rb") as stream:
        done = subprocess.run([str(binary)], stdin=stream, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == len(points)


def test_misra_required_rules(integrator_law, lines, tmp_path, tool):
    """Only the advisory rules that docs/misra.md records may be broken."""
    cppcheck = tool("cppcheck", "cppcheck")
    residual = random_residual((3, 6, 5, 1), "gelu", 1.0, 0, "float")
    residual = replace(residual, angles=(1,), centre=residual.centre[:1], scale=residual.scale[:1])
    write_c(
        integrator_law.merged(), tmp_path, precision="float", search="tree", extension=residual, clip=lines,
        out_min=[-1.0], out_max=[1.0],
    )  # fmt: skip
    command = [cppcheck, "--addon=misra", "--std=c99", "-q", "--template={id}", str(tmp_path / "controller.c")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = {line.removeprefix("misra-c2012-") for line in done.stderr.splitlines() if line.startswith("misra")}
    assert found  # the add-on ran
    assert found <= {"2.5", "8.7", "8.9", "12.1", "15.5"}


def test_parts_survive_a_controller_file(integrator_law, lines, tmp_path):
    residual = random_residual((2, 4, 1), "tanh", 1.0, 0, "double")
    path = tmp_path / "controller.safetensors"
    save_controller(path, integrator_law, form="residual", extension=controller_tensors(residual, lines))
    law, found, clip = read_parts(path)
    assert law.n_regions == integrator_law.n_regions
    assert found.kind == "tanh"
    for a, b in zip(found.weights, residual.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(clip.F_high, lines.F_high)
    integrator_law.save(tmp_path / "law.safetensors")
    assert read_parts(tmp_path / "law.safetensors")[1:] == (None, None)
    with pytest.raises(FileFormatError, match=r"layer\.weight"):
        controller_parts({"layer.weight": np.zeros(1)})


def test_what_has_no_c_form_is_refused(integrator_law, reactor_law, lines, tmp_path):
    base = encode_actor(integrator_law)
    with pytest.raises(ModelError, match="LayerNorm"):
        write_c(integrator_law, tmp_path, extension=extend(base, BOX, layer_norm=True))
    with pytest.raises(ModelError, match="PerRegionNet"):
        write_c(integrator_law, tmp_path, extension=extend(base, BOX, hidden=(4,), kind="per_region"))
    with pytest.raises(ModelError, match="extension: maps 3 states"):
        write_c(integrator_law, tmp_path, extension=random_residual((3, 4, 1), "relu", 1.0, 0))
    with pytest.raises(ModelError, match="clip: is for 2 states and 1 input"):
        write_c(reactor_law, tmp_path, clip=lines)
    for field in ("search", "outside"):
        with pytest.raises(Exception, match=field):
            write_c(integrator_law, tmp_path, **{field: "hash"})
    assert not list(tmp_path.iterdir())
