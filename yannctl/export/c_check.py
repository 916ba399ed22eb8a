"""Compile exported C on this machine and compare it with the Python law, bit by bit."""

import ctypes
import os
import shlex
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from yannctl.errors import ModelError
from yannctl.pwa.law import PwaLaw
from yannctl.types import Float

from .c_code import CExport
from .c_text import fill_template
from .status import OK

WARNING_FLAGS = ("-std=c99", "-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror")
EXACT_FLAGS = ("-O2", "-ffp-contract=off")
BISECTIONS = 64  # halvings of a segment that ends on a facet, to the last bit of double precision


@dataclass(frozen=True)
class CCheck:
    """Outcome of compiling and running exported C.

    Args:
        ok: it compiled without a warning, and every output bit and every status is right.
        max_abs: largest difference of the law's part from `law(theta)` inside the regions, physical units (NaN if
            skipped).
        n_points: points compared.
        n_different_bits: outputs that differ in a bit from `CExport.reference`.
        n_wrong_status: points with an unexpected status.
        compiler: the compiler command, empty if none was found.
        seconds: time for compiling and comparing [s].
        skipped: no compiler was found.
        reason: why it was skipped or what failed, with the remedy.
    """

    ok: bool
    max_abs: float
    n_points: int
    n_different_bits: int
    n_wrong_status: int
    compiler: str
    seconds: float
    skipped: bool
    reason: str


def find_compiler() -> tuple[str, ...]:
    """Look for a C compiler: the command in $CC, else cc, gcc or clang.

    Returns:
        The command as words, empty when there is none.
    """
    chosen = shlex.split(os.environ.get("CC", ""))
    if chosen:
        return tuple(chosen) if shutil.which(chosen[0]) else ()
    return next(((name,) for name in ("cc", "gcc", "clang") if shutil.which(name)), ())


def check_c(export: CExport, law: PwaLaw, n_points: int = 20_000, seed: int = 0) -> CCheck:
    """Compile the exported C with warnings as errors and compare it with the law at many points.

    A third of the points is drawn inside the domain, a third just around it, a third lies on facets to the last bit;
    vertices of up to 200 regions and inputs that must be rejected are added.

    Args:
        export: what `write_c` returned.
        law: the law it was written from.
        n_points: points to draw.
        seed: of the draw.

    Returns:
        The comparison; `skipped` with the remedy where there is no compiler.
    """
    start = time.perf_counter()
    compiler = find_compiler()
    if not compiler:
        reason = "no C compiler found; install one (apt-get install gcc) or set CC"
        return CCheck(False, float("nan"), 0, 0, 0, "", time.perf_counter() - start, True, reason)
    reference = export.reference
    with np.errstate(over="ignore"):  # the huge inputs become infinite in float, and must be rejected too
        points = check_points(law, n_points, seed).astype(reference.dtype)
    with tempfile.TemporaryDirectory(prefix="yannctl_") as folder:
        library, errors = compile_c(export, Path(folder), compiler)
        if library is None:
            seconds = time.perf_counter() - start
            return CCheck(False, float("nan"), 0, 0, 0, shlex.join(compiler), seconds, False, errors)
        u, status = run_c(library, export, points)
    wanted, wanted_status = reference.evaluate(points)
    different = int(np.count_nonzero(bits(u) != bits(wanted)))
    wrong = int(np.count_nonzero(status != wanted_status))
    plain = reference.residual is None and reference.clip is None
    max_abs = _against_law(law, points, reference.law(points))
    exact = export.precision == "float" or max_abs == 0.0
    if plain and different == 0:
        max_abs = max(max_abs, _against_law(law, points, (u, status)))
    ok = different == 0 and wrong == 0 and exact
    reason = "" if ok else "the compiled law differs; compile with -ffp-contract=off and without -ffast-math"
    return CCheck(
        ok, max_abs, len(points), different, wrong, shlex.join(compiler), time.perf_counter() - start, False, reason
    )


def compile_c(
    export: CExport, folder: Path, compiler: tuple[str, ...], flags: tuple[str, ...] = EXACT_FLAGS
) -> tuple[Path | None, str]:
    """Compile the exported source and a loop over points into a shared library, with warnings as errors.

    Args:
        export: what `write_c` returned.
        folder: where the library goes.
        compiler: the compiler command as words.
        flags: optimisation and floating-point flags.

    Returns:
        The library, or None with the compiler's messages.
    """
    harness = folder / "harness.c"
    harness.write_text(fill_template("harness.c.in", {"name": export.name, "upper": export.name.upper()}), "ascii")
    library = folder / f"{export.name}.so"
    command = [*compiler, *WARNING_FLAGS, *flags, "-fPIC", "-shared", f"-I{export.folder}"]
    command += [*map(str, export.sources), str(harness), "-o", str(library)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return (library, "") if result.returncode == 0 else (None, result.stderr.strip())


def run_c(library: Path, export: CExport, theta: Float[np.ndarray, "n ntheta"]) -> tuple[np.ndarray, np.ndarray]:
    """Evaluate the compiled controller at every point.

    Args:
        library: what `compile_c` made.
        export: what `write_c` returned.
        theta: points in the exported precision.

    Returns:
        Outputs (n, n_out) and status codes (n,).
    """
    tables, dtype = export.reference.tables, export.reference.dtype
    if theta.dtype != dtype:
        raise ModelError("theta", f"has dtype {theta.dtype}, the {export.precision} build takes {dtype}")
    points = np.ascontiguousarray(theta)
    u = np.full((len(points), tables.n_out), np.nan, dtype)
    status = np.full(len(points), -1, np.int32)
    function = ctypes.CDLL(str(library)).check_points
    function.restype = None
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
    function(points.ctypes.data, u.ctypes.data, status.ctypes.data, len(points))
    return u, status


def check_points(law: PwaLaw, n_points: int, seed: int) -> Float[np.ndarray, "n ntheta"]:
    """Points that try a law: inside, around, on facets, at vertices, and inputs that must be rejected.

    Args:
        law: the explicit law.
        n_points: points to draw inside, around and on facets together.
        seed: of the draw.

    Returns:
        The points, physical units; the last ones hold NaN, infinity and huge numbers.
    """
    generator = np.random.default_rng(seed)
    low, high = law.theta_min, law.theta_max
    third = -(-n_points // 3)
    inside = generator.uniform(low, high, (third, len(low)))
    around = generator.uniform(low - 0.2 * (high - low), high + 0.2 * (high - low), (third, len(low)))
    facets = facet_points(law, inside, generator.permutation(inside))
    parts = [inside, around, facets]
    n_sampled = min(law.n_regions, 200)
    parts += [law.vertices(int(i)) for i in generator.permutation(law.n_regions)[:n_sampled]]
    centre = (low + high) / 2
    for value in (np.nan, np.inf, -np.inf, 1.7e308, -1.7e308, 3.3e38):
        rejected = np.tile(centre, (len(low), 1))
        np.fill_diagonal(rejected, value)
        parts.append(rejected)
    return np.concatenate(parts)


def facet_points(
    law: PwaLaw, first: Float[np.ndarray, "n ntheta"], second: Float[np.ndarray, "n ntheta"]
) -> Float[np.ndarray, "n ntheta"]:
    """Halve the segments between pairs of points until both ends are neighbours on two sides of a facet.

    Args:
        law: the explicit law.
        first: one end of each segment.
        second: the other end.

    Returns:
        For every pair a point on a facet to the last bit (or the first end where both lie in one region).
    """
    a, b = first.copy(), second.copy()
    home = law.locate(a)
    for _ in range(BISECTIONS):
        middle = (a + b) / 2
        same = law.locate(middle) == home
        a[same], b[~same] = middle[same], middle[~same]
    half = len(a) // 2
    return np.concatenate([a[:half], b[half:]])


def bits(values: np.ndarray) -> np.ndarray:
    """Read the numbers as integers, so that NaN and -0.0 compare as they are stored.

    Args:
        values: float64 or float32 numbers.

    Returns:
        Integers of the same shape.
    """
    return values.view(np.int64 if values.dtype == np.float64 else np.int32)


def _against_law(law: PwaLaw, points: np.ndarray, found: tuple[np.ndarray, np.ndarray]) -> float:
    """Largest difference from `law(theta)` where both lie in a region."""
    u, status = found
    inside = np.flatnonzero(status == OK)
    wanted = law(points[inside].astype(np.float64))
    known = np.isfinite(wanted).all(axis=1)
    return float(np.max(np.abs(u[inside][known] - wanted[known]), initial=0.0))
