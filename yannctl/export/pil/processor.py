"""An exported controller on an emulated processor: every bit compared with Python, instructions, flash and RAM."""

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from yannctl.export.c_check import bits, check_points
from yannctl.export.c_code import CExport
from yannctl.pwa.law import PwaLaw
from yannctl.types import Float

from .boards import Cpu, cpu_by_name
from .image import Image, build_image, run_image, template

REPEAT = 40  # evaluations a timing: one tick of 25 MHz is 40 instructions of one nanosecond
MOST_TIMED = 1024  # rows that batch.c times


@dataclass(frozen=True)
class BatchResult:
    """What a batch on the processor gave.

    Args:
        u: outputs (n, n_out).
        status: status codes (n,).
        instructions: instructions of the timed evaluations (n_timed,), the call itself left out.
        stack_bytes: largest stack of one evaluation [byte].
    """

    u: np.ndarray
    status: np.ndarray
    instructions: np.ndarray
    stack_bytes: int


@dataclass(frozen=True)
class PilReport:
    """Outcome of running a controller on a processor.

    Args:
        ok: every output bit and every status equals the Python reference.
        cpu: the processor.
        machine: the emulated board.
        n_points: points compared: inside, around, on facets, at vertices, and inputs that must be rejected.
        n_different_bits: outputs that differ in a bit.
        n_wrong_status: points with another status.
        instructions_median: instructions of one evaluation, the median of the timed points.
        instructions_max: the largest.
        n_timed: timed points: vertices and facets first, then random ones.
        flash_bytes: code, constants and the library routines they call [byte].
        ram_bytes: static RAM, stack, theta and u [byte].
    """

    ok: bool
    cpu: str
    machine: str
    n_points: int
    n_different_bits: int
    n_wrong_status: int
    instructions_median: int
    instructions_max: int
    n_timed: int
    flash_bytes: int
    ram_bytes: int

    def to_json(self) -> dict:
        """Return the fields as numbers and texts."""
        return asdict(self)


def verify_on_processor(
    export: CExport, law: PwaLaw, cpu: str = "cortex-m4", n_points: int = 100_000, seed: int = 0
) -> PilReport:
    """Compile a controller for a processor, run it on the emulated board and compare every bit with Python.

    Instructions are not cycles: they say nothing of wait states and pipelines.

    Args:
        export: what `write_c` returned.
        law: the law it was written from, for the points.
        cpu: "cortex-m4", "cortex-m7" or "cortex-m3".
        n_points: points to draw inside, around and on facets together; vertices are added.
        seed: of the draw.

    Returns:
        The comparison.

    Raises:
        NotInstalledError: cross-compiler or emulator are missing; it names the packages.
        ModelError: the compiler refuses, or the board ends with an error.
    """
    reference = export.reference
    with np.errstate(over="ignore"):
        points = timed_first(law, check_points(law, n_points, seed)).astype(reference.dtype)
    with tempfile.TemporaryDirectory(prefix="yannctl_pil_") as name:
        folder = Path(name)
        call = f"return (int32_t){export.name}_control(in, out);"
        sizes = reference.tables.n_theta, reference.tables.n_out
        image, own = build_batch(cpu_by_name(cpu), folder, list(export.sources), call, export.name, sizes)
        found = run_batch(image, folder, points, sizes[1], min(MOST_TIMED, len(points)))
    wanted, wanted_status = reference.evaluate(points)
    different = int(np.count_nonzero(bits(found.u) != bits(wanted)))
    wrong = int(np.count_nonzero(found.status != wanted_status))
    return PilReport(
        ok=different == 0 and wrong == 0,
        cpu=cpu,
        machine=image.cpu.machine,
        n_points=len(points),
        n_different_bits=different,
        n_wrong_status=wrong,
        instructions_median=int(np.median(found.instructions)),
        instructions_max=int(found.instructions.max()),
        n_timed=len(found.instructions),
        flash_bytes=own[0],
        ram_bytes=own[1] + found.stack_bytes + (sizes[0] + sizes[1]) * reference.dtype.itemsize,
    )


def timed_first(law: PwaLaw, points: Float[np.ndarray, "n ntheta"]) -> Float[np.ndarray, "m ntheta"]:
    """Put vertices and points inside and on facets in front, where they are timed.

    Args:
        law: the law.
        points: from `check_points`.

    Returns:
        All corners of up to 100 regions and a mixture of the points, then all points.
    """
    generator = np.random.default_rng(1)
    chosen = generator.permutation(law.n_regions)[:100]
    corners = np.concatenate([law.vertices(int(i)) for i in chosen])[: MOST_TIMED // 2]
    mixed = points[generator.permutation(len(points))[: MOST_TIMED - len(corners)]]
    return np.concatenate([corners, mixed, points])


def build_batch(
    cpu: Cpu, folder: Path, sources: list[Path], call: str, name: str, sizes: tuple[int, int]
) -> tuple[Image, tuple[int, int]]:
    """Build the batch program around a function, and measure what the function adds.

    Args:
        cpu: the processor.
        folder: where to build.
        sources: C files of the controller, with its headers beside them.
        call: statements that read `in`, write `out` and return a status.
        name: prefix of the controller's C names, and stem of its header.
        sizes: numbers read and written.

    Returns:
        The image, and flash and static RAM that the controller adds to an empty one [byte].
    """
    (folder / "batch.c").write_text(template("batch.c"), "ascii")
    images = []
    for kind, body in (("empty", "(void)in;\n    out[0] = in[0];\n    return 0;"), ("pil", call)):
        (folder / "target.h").write_text(_target(name, sizes, body), "ascii")
        files = [folder / "batch.c", *(sources if kind == "pil" else [])]
        images.append(build_image(cpu, folder, files, [folder, sources[0].parent], name=kind))
    empty, image = images
    return image, (image.flash_bytes - empty.flash_bytes, image.static_bytes - empty.static_bytes)


def run_batch(image: Image, folder: Path, points: Float[np.ndarray, "n n_in"], n_out: int, n_timed: int) -> BatchResult:
    """Evaluate points on the processor.

    Args:
        image: from `build_batch`.
        folder: working folder.
        points: inputs (n, n_in) in the controller's precision.
        n_out: numbers written.
        n_timed: points to time, the first ones, at most 1024.

    Returns:
        Outputs, status codes, instructions and stack.
    """
    rows = np.ascontiguousarray(points)
    (folder / "points.bin").write_bytes(np.array([len(rows), n_timed], "<u4").tobytes() + rows.tobytes())
    run_image(image, folder)
    raw = (folder / "result.bin").read_bytes()
    row = np.dtype([("u", rows.dtype, (n_out,)), ("status", "<i4")], align=True)
    table = np.frombuffer(raw, row, len(rows))
    tail = np.frombuffer(raw, "<u4", n_timed + 2, len(rows) * row.itemsize).astype(np.int64)
    return BatchResult(
        table["u"].copy(), table["status"].astype(np.int64), tail[:n_timed] - tail[n_timed], int(tail[-1])
    )


def _target(name: str, sizes: tuple[int, int], body: str) -> str:
    """The header that tells batch.c what to call."""
    return f"""#include "{name}.h"

#include <stdint.h>

#define TARGET_N_IN {sizes[0]}
#define TARGET_N_OUT {sizes[1]}
#define TARGET_REPEAT {REPEAT}U

typedef {name}_real target_real;

static int32_t target_call(const target_real *in, target_real *out)
{{
    {body}
}}
"""
