"""A learned part alone on a processor: the same bits as its reference, instructions, flash and RAM."""

import tempfile
from pathlib import Path

import numpy as np

from yannctl.export.c_check import bits
from yannctl.export.c_code import write_c
from yannctl.export.residual_tables import ResidualTables
from yannctl.pwa.law import PwaLaw

from .boards import cpu_by_name
from .processor import MOST_TIMED, PilReport, build_batch, run_batch


def measure_network(residual: ResidualTables, cpu: str, n_points: int = 2000, seed: int = 0) -> PilReport:
    """Run the change that a learned part proposes, `reach tanh f(phi(x))`, without law and limits.

    Args:
        residual: the learned part.
        cpu: name of the processor.
        n_points: random states, uniform in the features' ranges.
        seed: of the draw.

    Returns:
        The comparison; flash holds the learned part alone, because the linker drops the law.
    """
    real = residual.reach.dtype
    half, centre = np.full(residual.nx, np.pi), np.zeros(residual.nx)
    others = list(residual.others)
    half[others], centre[others] = 1 / residual.scale.astype(float), residual.centre
    draw = np.random.default_rng(seed).uniform(centre - half, centre + half, (n_points, residual.nx)).astype(real)
    sizes = residual.nx, residual.sizes[-1]
    with tempfile.TemporaryDirectory(prefix="yannctl_pil_") as name:
        folder = Path(name)
        export = write_c(_zero_law(residual), folder, precision=residual.precision, extension=residual)
        call = f"{export.name}_learned(in, out);\n    return 0;"
        image, own = build_batch(cpu_by_name(cpu), folder, [export.source], call, export.name, sizes)
        found = run_batch(image, folder, draw, sizes[1], min(MOST_TIMED, n_points))
    different = int(np.count_nonzero(bits(found.u) != bits(residual.change(draw))))
    return PilReport(
        ok=different == 0, cpu=cpu, machine=image.cpu.machine, n_points=n_points, n_different_bits=different,
        n_wrong_status=0, instructions_median=int(np.median(found.instructions)),
        instructions_max=int(found.instructions.max()), n_timed=len(found.instructions), flash_bytes=own[0],
        ram_bytes=own[1] + found.stack_bytes + sum(sizes) * real.itemsize,
    )  # fmt: skip


def _zero_law(residual: ResidualTables) -> PwaLaw:
    """A law of one region that is zero, so that the source has one."""
    n, m = residual.nx, residual.sizes[-1]
    return PwaLaw(
        row_start=np.array([0, 2 * n]), H=np.vstack([np.eye(n), -np.eye(n)]), k=np.full(2 * n, 10.0),
        F=np.zeros((1, m, n)), g=np.zeros((1, m)), theta_min=np.full(n, -10.0), theta_max=np.full(n, 10.0),
    )  # fmt: skip
