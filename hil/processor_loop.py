"""The firmware on an emulated processor in a closed loop with a plant's own C step, in lock-step and compared."""

import ctypes
import itertools
import select
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np

from yannctl.errors import NotInstalledError
from yannctl.export import CExport
from yannctl.export.c_check import EXACT_FLAGS, find_compiler
from yannctl.export.pil import Image
from yannctl.export.pil.image import emulator
from yannctl.plant import AbstractPlant
from yannctl.types import ArrayLike, Float

from .board_image import build_firmware, write_firmware
from .device import DeviceLimits, DeviceState
from .framing import FrameDecoder, encode_frame
from .messages import Acknowledge, Arm, Command, Envelope, Measurement, Message, MessageCodec
from .rig import RigError

ANSWER_SECONDS = 60.0
HOLD_US = 600_000_000  # the loop is in lock-step: a slow host must not make a measurement expire


class EmulatedBoard:
    """A firmware image running in QEMU, spoken to over its serial line. Use it as a context manager.

    Args:
        image: from `build_firmware`.
        nx: number of states.
        nu: number of inputs.
        session: number of the session, not 0.
    """

    def __init__(self, image: Image, nx: int, nu: int, session: int = 1) -> None:
        self.codec, self.session = MessageCodec(nx, nu), session
        self._image, self._decoder = image, FrameDecoder(self.codec.max_size)
        self._process: subprocess.Popen | None = None
        self._waiting: list[Envelope] = []
        self._sequence = itertools.count(1)

    def __enter__(self) -> "EmulatedBoard":  # noqa: PYI034 (Self cannot be checked at run time)
        command = emulator(self._image, semihosting=False, serial="stdio", counted=False)
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()

    def write(self, data: bytes) -> None:
        """Send bytes as they are.

        Args:
            data: what to send.

        Raises:
            RigError: the board is gone.
        """
        if self._process is None or self._process.stdin is None:
            raise RigError("the board is not running; use it as a context manager")
        try:
            self._process.stdin.write(data)
        except OSError as error:
            raise RigError(f"the board is gone: {error}") from error

    def send(self, message: Message, session: int | None = None) -> int:
        """Send a message.

        Args:
            message: what to send.
            session: another session's number, None for the board's own.

        Returns:
            Its sequence number.
        """
        sequence = next(self._sequence)
        number = self.session if session is None else session
        self.write(encode_frame(self.codec.pack(Envelope(message, number, sequence, 0))))
        return sequence

    def receive(self) -> Envelope:
        """Wait for the next message of the board.

        Returns:
            The message with its header.

        Raises:
            RigError: the board is gone.
        """
        while not self._waiting:
            if self._process is None or self._process.stdout is None:
                raise RigError("the board is not running; use it as a context manager")
            ready, _, _ = select.select([self._process.stdout], [], [], ANSWER_SECONDS)
            data = self._process.stdout.read(4096) if ready else b""
            if not data:
                raise RigError(f"the board is gone or silent for {ANSWER_SECONDS:.0f} s")
            self._waiting += [self.codec.unpack(part) for part in self._decoder.feed(data)]
        return self._waiting.pop(0)

    @property
    def line(self) -> IO[bytes]:
        """The serial line into the board, for another process to write to.

        Raises:
            RigError: the board is not running.
        """
        if self._process is None or self._process.stdin is None:
            raise RigError("the board is not running; use it as a context manager")
        return self._process.stdin

    def poll(self, seconds: float) -> list[Envelope]:
        """Take what the board has said, waiting a little for a first message.

        Args:
            seconds: how long [s].

        Returns:
            Messages in order, perhaps none.

        Raises:
            RigError: the board is gone.
        """
        if self._process is None or self._process.stdout is None:
            raise RigError("the board is not running; use it as a context manager")
        said, self._waiting[:] = list(self._waiting), []
        if not said and select.select([self._process.stdout], [], [], seconds)[0]:
            data = self._process.stdout.read(4096)
            if not data:
                raise RigError("the board is gone")
            said = [self.codec.unpack(part) for part in self._decoder.feed(data)]
        return said

    def arm(self, law_id: int, valid_for_us: int) -> Acknowledge:
        """Ask the board to work for this session.

        Args:
            law_id: the controller it must run.
            valid_for_us: time a measurement may be old [us].

        Returns:
            Its answer.

        Raises:
            RigError: it answers something else.
        """
        self.send(Arm(law_id, valid_for_us))
        answer = self.receive().message
        if not isinstance(answer, Acknowledge):
            raise RigError(f"the board answered ARM with {type(answer).__name__}")
        return answer

    def control(self, x: Float[np.ndarray, " nx"], u_applied: Float[np.ndarray, " nu"]) -> Command:
        """Give the board a measurement and take the input of its law.

        Args:
            x: states (nx,); they travel as float32.
            u_applied: input the plant is under (nu,).

        Returns:
            The board's command.

        Raises:
            RigError: it answers something else.
        """
        sequence = self.send(Measurement(x, u_applied, int(DeviceState.ARMED)))
        answer = self.receive().message
        if not isinstance(answer, Command) or answer.echo != sequence:
            raise RigError(f"the board answered a measurement with {answer}")
        return answer


@dataclass(frozen=True)
class LoopComparison:
    """A closed loop on the processor beside the same loop in Python.

    Args:
        identical: every state and every input equal in every bit.
        steps: sample periods.
        max_x: largest difference of a state.
        max_u: largest difference of an input.
        x: states of the loop on the processor (steps + 1, nx).
        u: inputs of the loop on the processor (steps, nu).
    """

    identical: bool
    steps: int
    max_x: float
    max_u: float
    x: Float[np.ndarray, "instants nx"]
    u: Float[np.ndarray, "steps nu"]


def compare_closed_loop(
    plant: AbstractPlant, export: CExport, x0: ArrayLike, cpu: str = "cortex-m4", steps: int = 1000
) -> LoopComparison:
    """Close the loop of the firmware and the plant's C step, and again with the Python reference of the controller.

    Args:
        plant: the plant; its `step_tape.c_source` is compiled on this machine.
        export: its controller, named "controller", in float.
        x0: first state (nx,).
        cpu: name of the processor.
        steps: sample periods.

    Returns:
        Both trajectories compared.

    Raises:
        NotInstalledError: a compiler or the emulator is missing.
    """
    safe = np.clip(export.safe_output.astype(float), plant.u_min, plant.u_max)
    limits = DeviceLimits(np.asarray(plant.u_min), np.asarray(plant.u_max), safe, export.law_id, HOLD_US)
    low, high = (np.asarray(bound, np.float32) for bound in (plant.u_min, plant.u_max))
    with tempfile.TemporaryDirectory(prefix="yannctl_pil_") as name:
        step = compiled_step(plant, Path(name))
        image = build_firmware(write_firmware(export, limits, Path(name) / "firmware"), cpu)

        def in_python(x: np.ndarray, u: np.ndarray) -> np.ndarray:
            found = export.reference.evaluate(x.astype(np.float32)[None])[0][0]
            return np.clip(found, low, high).astype(float)

        with EmulatedBoard(image, plant.nx, plant.nu) as board:
            answer = board.arm(export.law_id, HOLD_US)
            if answer.accepted != 1:
                raise RigError("the board refused to be armed")
            x, u = _run(step, lambda state, held: board.control(state, held).u, x0, safe, steps)
        wanted_x, wanted_u = _run(step, in_python, x0, safe, steps)
    return LoopComparison(
        identical=bool(np.array_equal(x, wanted_x) and np.array_equal(u, wanted_u)),
        steps=steps,
        max_x=float(np.abs(x - wanted_x).max()),
        max_u=float(np.abs(u - wanted_u).max()),
        x=x,
        u=u,
    )


def compiled_step(plant: AbstractPlant, folder: Path) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Compile the plant's C step on this machine.

    Args:
        plant: the plant.
        folder: where source and library go.

    Returns:
        Function (x, u) -> next x in double precision.

    Raises:
        NotInstalledError: there is no C compiler.
    """
    compiler = find_compiler()
    if not compiler:
        raise NotInstalledError("closed loop in C: no C compiler; apt-get install gcc")
    source, library = folder / "plant.c", folder / "plant.so"
    source.write_text("#include <math.h>\n" + plant.step_tape.c_source("plant_step"), "ascii")
    command = [*compiler, "-std=c99", *EXACT_FLAGS, "-fPIC", "-shared", str(source), "-o", str(library), "-lm"]
    subprocess.run(command, check=True, capture_output=True)
    function = ctypes.CDLL(str(library)).plant_step
    function.restype = None
    pointer = ctypes.POINTER(ctypes.c_double)
    function.argtypes = [pointer] * 3

    def step(x: np.ndarray, u: np.ndarray) -> np.ndarray:
        state, held, result = np.array(x, float), np.array(u, float), np.empty(plant.nx)
        function(*(array.ctypes.data_as(pointer) for array in (state, held, result)))
        return result

    return step


def _run(
    step: Callable[[np.ndarray, np.ndarray], np.ndarray],
    controller: Callable[[np.ndarray, np.ndarray], np.ndarray],
    x0: ArrayLike,
    held: np.ndarray,
    steps: int,
) -> tuple[np.ndarray, np.ndarray]:
    """States and inputs of a closed loop."""
    x = [np.array(x0, float)]
    u: list[np.ndarray] = []
    for _ in range(steps):
        u.append(controller(x[-1], u[-1] if u else held))
        x.append(step(x[-1], u[-1]))
    return np.array(x), np.array(u)
