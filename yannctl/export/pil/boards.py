"""Emulated boards and the tools they need."""

import shutil
from dataclasses import dataclass

from yannctl.errors import ModelError, NotInstalledError

TOOLS = {
    "arm-none-eabi-gcc": "gcc-arm-none-eabi libnewlib-arm-none-eabi",
    "arm-none-eabi-size": "binutils-arm-none-eabi",
    "qemu-system-arm": "qemu-system-arm",
}


@dataclass(frozen=True)
class Cpu:
    """A processor and the emulated board that carries it.

    Args:
        name: name of the processor, as on the command line.
        machine: QEMU's name of the board.
        flags: compiler flags.
        floats: how it computes with float.
    """

    name: str
    machine: str
    flags: tuple[str, ...]
    floats: str


CPUS = {
    cpu.name: cpu
    for cpu in (
        Cpu(
            "cortex-m4",
            "mps2-an386",
            ("-mcpu=cortex-m4", "-mthumb", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"),
            "single-precision unit",
        ),
        Cpu(
            "cortex-m7",
            "mps2-an500",
            ("-mcpu=cortex-m7", "-mthumb", "-mfpu=fpv5-d16", "-mfloat-abi=hard"),
            "double-precision unit",
        ),
        Cpu("cortex-m3", "mps2-an385", ("-mcpu=cortex-m3", "-mthumb", "-mfloat-abi=soft"), "in software"),
    )
}


def cpu_by_name(name: str) -> Cpu:
    """Find a processor.

    Args:
        name: such as "cortex-m4".

    Returns:
        The processor.

    Raises:
        ModelError: there is no such processor.
    """
    if name not in CPUS:
        raise ModelError("cpu", f"got {name!r}", remedy=f"choose from {', '.join(CPUS)}")
    return CPUS[name]


def missing_tools() -> tuple[str, ...]:
    """Look for the cross-compiler and the emulator.

    Returns:
        Debian packages that are missing, empty when all is there.
    """
    return tuple(package for tool, package in TOOLS.items() if shutil.which(tool) is None)


def require_tools() -> None:
    """Raise NotInstalledError unless cross-compiler and emulator are there.

    Raises:
        NotInstalledError: it names the packages to install.
    """
    missing = missing_tools()
    if missing:
        raise NotInstalledError(f"processor in the loop: apt-get install {' '.join(missing)}")
