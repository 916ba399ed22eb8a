"""The firmware of the board with one controller: its sources gathered, its settings written, its image built."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from yannctl.errors import ModelError, NotInstalledError
from yannctl.export import CExport
from yannctl.export.pil import CPUS, Image, build_image
from yannctl.types import Float

from .device import DeviceLimits

FIRMWARE = Path(__file__).resolve().parent / "firmware"
PORTABLE = ("main.c", "guard.c", "link.c")


@dataclass(frozen=True)
class Firmware:
    """Sources of one firmware.

    Args:
        folder: where they are, settings.h and the generated controller included.
        sources: the portable C files, the board's own apart.
        limits: what the board refuses.
    """

    folder: Path
    sources: tuple[Path, ...]
    limits: DeviceLimits


def write_firmware(export: CExport, limits: DeviceLimits, folder: str | Path) -> Firmware:
    """Gather the portable sources, the generated controller and its settings in one folder.

    Args:
        export: a controller named "controller" in float.
        limits: input limits, safe action and expiry; its law id must be the controller's.
        folder: where to write; it is created.

    Returns:
        The sources.

    Raises:
        ModelError: another name, precision, size or law id.
        NotInstalledError: the firmware is not in the wheel; run it from a checkout.
    """
    if not FIRMWARE.is_dir():
        raise NotInstalledError(f"firmware: {FIRMWARE} is missing; run it from a checkout of the project")
    tables = export.reference.tables
    if export.name != "controller" or export.precision != "float":
        text = f"is {export.name!r} in {export.precision}"
        raise ModelError("export", text, remedy='write it with name="controller" and precision="float"')
    if limits.law_id != export.law_id or len(limits.u_min) != tables.n_out:
        raise ModelError("limits", "are for another controller", remedy="take law_id and sizes from the export")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*PORTABLE, "link.h", "guard.h", "board.h"):
        shutil.copyfile(FIRMWARE / name, folder / name)
    for path in export.files[:2]:
        if path.parent != folder:
            shutil.copyfile(path, folder / path.name)
    (folder / "settings.h").write_text(settings_text(limits, tables.n_theta), "ascii")
    return Firmware(folder, tuple(folder / name for name in (*PORTABLE, "controller.c")), limits)


def settings_text(limits: DeviceLimits, nx: int) -> str:
    """Write settings.h: sizes of the link and what the board refuses.

    Args:
        limits: what the board refuses.
        nx: number of states in a measurement.

    Returns:
        The text.
    """
    return f"""/* settings.h: sizes and limits of this board, written with the controller. */
#ifndef SETTINGS_H
#define SETTINGS_H

#define LINK_NX {nx}U
#define LINK_NU {len(limits.u_min)}U
#define GUARD_LAW_ID 0x{limits.law_id:08x}U
#define GUARD_MAX_VALID_US {limits.max_valid_us}U
#define GUARD_MAX_AGE {limits.max_age}U
#define GUARD_U_MIN {_braced(limits.u_min)}
#define GUARD_U_MAX {_braced(limits.u_max)}
#define GUARD_SAFE_ACTION {_braced(limits.safe_action)}

#endif
"""


def build_firmware(firmware: Firmware, cpu: str = "cortex-m4") -> Image:
    """Build the firmware for an emulated board.

    Args:
        firmware: its sources.
        cpu: name of the processor.

    Returns:
        The image.
    """
    board = firmware.folder / "board.c"
    shutil.copyfile(FIRMWARE / "mps2" / "board.c", board)
    sources = [*firmware.sources, board]
    return build_image(CPUS[cpu], firmware.folder, sources, [firmware.folder], startup=False, name="firmware")


def _braced(values: Float[np.ndarray, " n"]) -> str:
    """A float initialiser, exact."""
    return "{" + ", ".join(f"{float(np.float32(value)).hex()}f" for value in values) + "}"
