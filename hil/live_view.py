"""A live view of a running loop in the terminal, in a process of its own: the loop never writes to a screen.

Keys: space or q stops the plant, + and - change the authority by a tenth, 0 puts the proposal into the shadow.
"""

import os
import select
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table

from .assembly import make_plant
from .configuration import Configuration
from .operator_port import send_command
from .rendezvous import Rendezvous, rendezvous
from .report import LoopState
from .rig import RigError
from .status_board import Status, StatusBoard

REFRESH_SECONDS = 0.1
STEP = 0.1
HELP = "space or q: stop   + -: authority   0: shadow"


class LiveView:
    """Shows the board and sends the operator's keys.

    Args:
        config: path of the configuration.
        configuration: the file.
    """

    def __init__(self, config: Path, configuration: Configuration) -> None:
        self.names: Rendezvous = rendezvous(config)
        section = configuration.plant
        plant = make_plant(section.name, section.parameters)
        self.x_names, self.u_names = tuple(plant.x_names), tuple(plant.u_names)
        self.x_units, self.u_units = tuple(plant.x_units), tuple(plant.u_units)
        self._title = f"{section.name} over {configuration.link.kind}"
        self._proposal = configuration.proposal is not None

    def board(self) -> StatusBoard:
        """Find the running loop.

        Returns:
            Its board.

        Raises:
            RigError: no loop runs.
        """
        try:
            return StatusBoard(self.names.board, len(self.x_names), len(self.u_names))
        except FileNotFoundError as error:
            raise RigError("no loop runs with this configuration") from error

    def table(self, status: Status) -> Table:
        """Lay out one picture.

        Args:
            status: what the board shows.

        Returns:
            A table for rich.
        """
        table = Table(
            title=self._title,
            caption=HELP,
            show_header=False,
            title_justify="left",
            caption_justify="left",
            min_width=60,
        )
        table.add_column("")
        table.add_column("", justify="right")
        table.add_column("")
        state = {LoopState.RUNNING: "green", LoopState.DEGRADED: "yellow"}.get(status.state, "red")
        table.add_row("state", f"[bold {state}]{status.state.name}[/]", f"drives: {status.source.name.lower()}")
        table.add_row("tick", f"{status.beat}", f"{status.time_ns * 1e-9:.1f} s")
        for name, unit, value in zip(self.x_names, self.x_units, status.x, strict=True):
            table.add_row(name, f"{value:.4g}", unit)
        table.add_row("margin", f"{status.margin:.1%}", "to the nearest state bound")
        for i, (name, unit) in enumerate(zip(self.u_names, self.u_units, strict=True)):
            shown = f"{unit}, proposed {status.proposed[i]:.4g}" if self._proposal else unit
            table.add_row(name, f"{status.applied[i]:.4g}", shown)
        if self._proposal:
            table.add_row("authority", f"{status.authority:.2f}", f"|proposed - asked| {status.difference:.3g}")
            table.add_row("law id", f"{status.law_id:08x}", f"{status.swaps} swaps, {status.refused} refused")
        table.add_row("link age", f"{status.stale}", "ticks since a fresh measurement")
        table.add_row("late", f"{status.lateness_us:.0f}", f"µs, worst {status.worst_lateness_us:.0f}")
        table.add_row(
            "rig, controller", f"{status.io_us:.0f}, {status.compute_us:.0f}", f"µs of {status.period * 1e6:.0f}"
        )
        counted = f"{status.bad_samples} bad, {status.overruns} overruns, {status.fallbacks} fallbacks"
        table.add_row("counted", f"{status.safe_actions}", f"safe actions; {counted}")
        return table

    def key(self, key: str, status: Status) -> None:
        """Obey a key.

        Args:
            key: one character.
            status: for the authority to start from.
        """
        with suppress(RigError):
            if key in {" ", "q"}:
                send_command(self.names.port, stop="by the operator's key")
            elif key in {"+", "="}:
                send_command(self.names.port, authority=min(1.0, round(status.authority + STEP, 10)))
            elif key == "-":
                send_command(self.names.port, authority=max(0.0, round(status.authority - STEP, 10)))
            elif key == "0":
                send_command(self.names.port, authority=0.0)

    def show(self) -> Status:
        """Show the loop until it ends.

        Returns:
            What the board showed last.
        """
        board = self.board()
        try:
            status = board.read()
            with (
                _keys(sys.stdin.fileno()) as pressed,
                Live(self.table(status), console=Console(), screen=False) as live,
            ):
                while status.state is not LoopState.STOPPED:
                    for key in pressed(REFRESH_SECONDS):
                        self.key(key, status)
                    status = board.read()
                    live.update(self.table(status))
            return status
        finally:
            board.close()


@contextmanager
def _keys(terminal: int) -> Iterator[Callable[[float], str]]:
    """Single keys without echo, the terminal as before at the end.

    Args:
        terminal: its file descriptor.

    Yields:
        Function that waits so many seconds and gives the keys pressed.
    """
    before = termios.tcgetattr(terminal)
    tty.setcbreak(terminal)

    def pressed(seconds: float) -> str:
        if not select.select([terminal], [], [], seconds)[0]:
            return ""
        return os.read(terminal, 64).decode("ascii", "ignore")

    try:
        yield pressed
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def wait_for_loop(view: LiveView, seconds: float) -> bool:
    """Wait until a loop has begun to tick.

    Args:
        view: of its configuration.
        seconds: how long [s].

    Returns:
        Whether it has.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with suppress(RigError):
            board = view.board()
            begun = board.beat > 0
            board.close()
            if begun:
                return True
        time.sleep(0.05)
    return False
