"""Images for the emulated boards: compile, link, measure, run."""

import shutil
import subprocess
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from yannctl.errors import ModelError

from .boards import Cpu, require_tools

FLAGS = (
    "-std=c99", "-Os", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-ffp-contract=off", "-ffunction-sections",
    "-fdata-sections",
)  # fmt: skip
RUN_SECONDS = 600.0


@dataclass(frozen=True)
class Image:
    """A linked program for one board.

    Args:
        elf: the file.
        cpu: the processor.
        flash_bytes: code and constants, library routines included [byte].
        static_bytes: static RAM [byte].
    """

    elf: Path
    cpu: Cpu
    flash_bytes: int
    static_bytes: int


def template(name: str) -> str:
    """Read a C or linker file of this package.

    Args:
        name: file name under templates/.

    Returns:
        Its text.
    """
    return resources.files("yannctl.export.pil").joinpath("templates", name).read_text("ascii")


def build_image(
    cpu: Cpu,
    folder: Path,
    sources: list[Path],
    include: list[Path],
    startup: bool = True,
    flags: tuple[str, ...] = FLAGS,
    name: str = "image",
) -> Image:
    """Compile and link with warnings as errors.

    Args:
        cpu: the processor.
        folder: where linker script, start-up code and image go.
        sources: C files.
        include: folders of headers.
        startup: add the start-up code of this package.
        flags: language, optimisation and floating-point flags.
        name: stem of the image.

    Returns:
        The image with its sizes.

    Raises:
        NotInstalledError: a tool is missing.
        ModelError: the compiler refuses; its first message is in the text.
    """
    require_tools()
    script = folder / "mps2.ld"
    script.write_text(template("mps2.ld"), "ascii")
    files = list(sources)
    if startup:
        files.append(folder / "startup.c")
        files[-1].write_text(template("startup.c"), "ascii")
    elf = folder / f"{name}.elf"
    command = ["arm-none-eabi-gcc", *cpu.flags, *flags, *(f"-I{path}" for path in include), *map(str, files)]
    command += ["-nostartfiles", "-Wl,--gc-sections", f"-Wl,-T,{script}", "-o", str(elf)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ModelError("source", f"arm-none-eabi-gcc: {done.stderr.strip()[:2000]}")
    size = shutil.which("arm-none-eabi-size") or "arm-none-eabi-size"
    sizes = subprocess.run([size, str(elf)], capture_output=True, text=True, check=True)
    text, data, bss = map(int, sizes.stdout.splitlines()[1].split()[:3])
    return Image(elf, cpu, text + data, data + bss)


def emulator(image: Image, semihosting: bool, serial: str = "null", counted: bool = True) -> list[str]:
    """Give the command that runs an image.

    Args:
        image: what to run.
        semihosting: let it use files and exit codes of this machine.
        serial: QEMU's name of what the first serial line is connected to.
        counted: let the board's time be the number of instructions, one a nanosecond.

    Returns:
        The words of the command.
    """
    command = ["qemu-system-arm", "-M", image.cpu.machine, "-nographic", "-monitor", "none", "-serial", serial]
    command += ["-semihosting-config", "enable=on,target=native"] if semihosting else []
    command += ["-icount", "shift=0"] if counted else []
    return [*command, "-kernel", str(image.elf)]


def run_image(image: Image, folder: Path) -> None:
    """Run an image to its end.

    Args:
        image: a program that exits by semihosting.
        folder: working folder, where its files are.

    Raises:
        ModelError: another exit code than 0, or no end.
    """
    try:
        done = subprocess.run(
            emulator(image, semihosting=True), cwd=folder, capture_output=True, text=True, check=False,
            timeout=RUN_SECONDS, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise ModelError("image", f"{image.cpu.machine} did not end within {RUN_SECONDS:.0f} s") from error
    if done.returncode != 0:
        raise ModelError("image", f"{image.cpu.machine} ended with code {done.returncode}: {done.stderr.strip()[:500]}")
