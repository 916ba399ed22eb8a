"""The supervisor: a second process that watches the loop's heartbeat and stops the plant when it falls silent.

    python -m yannctl.hil.supervisor CONFIG PROCESS-ID

On silence it kills the loop for good (a process that was suspended must never wake up and go on commanding), sends the
stop on the wire itself, waits until the device shows that it holds its safe action, and latches the stop: the next run
is refused until `yannctl hil reset`. It is the second of three watchdogs: the device's own expiry acts without it, and
it is no safety function.
"""

import os
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from .assembly import make_plant, make_rig
from .configuration import Configuration, read_configuration
from .linked import LinkedRig
from .messages import Welcome
from .opcua import OpcuaRig
from .rendezvous import latch, rendezvous
from .report import LoopState
from .rig import AbstractRig, RigError
from .ros2 import Ros2Rig
from .status_board import StatusBoard

CONFIRM_SECONDS = 5.0
LEAST_SILENCE = 0.1  # a busy computer may pause a healthy loop for less
DONE, ACTED = 0, 3


def take_over(rig: AbstractRig, seconds: float = CONFIRM_SECONDS) -> bool:
    """Assert the safe action from this process, now that the one that drove is gone.

    Args:
        rig: not open.
        seconds: how long to try [s].

    Returns:
        Whether the device has shown that it holds its safe action.
    """
    try:
        match rig:
            case LinkedRig():
                return _stop_link(rig, seconds)
            case Ros2Rig():
                rig.open()
                rig.arm()
                rig.stop("taken over by the supervisor")
            case OpcuaRig():
                rig.open()
                rig.stop("taken over by the supervisor")
            case _:
                return True  # a simulated plant is gone with its loop
    except RigError:
        return False
    finally:
        rig.close()
    return True


def _stop_link(rig: LinkedRig, seconds: float) -> bool:
    """Send STOP, which needs no session, until the device greets again: it does so only when it is not armed."""
    channel, end = rig.channel, time.monotonic() + seconds
    channel.link.open()
    while time.monotonic() < end:
        channel.send_stop()
        nonce = channel.hello()
        for envelope in channel.receive(time.monotonic_ns() + 100_000_000):
            if isinstance(envelope.message, Welcome) and envelope.message.answers == nonce:
                return True
    return False


class Supervisor:
    """Watches one loop.

    Args:
        config: path of its configuration.
        process: its process.
        say: prints a line for people.
    """

    def __init__(self, config: Path, process: int, say: Callable[[str], None]) -> None:
        self.config, self.process, self._say = config, process, say
        self.configuration: Configuration = read_configuration(config)
        self.names = rendezvous(config)
        section = self.configuration.plant
        plant = make_plant(section.name, section.parameters)
        self.period = float(plant.dt if section.dt is None else section.dt)
        self.silence = max(LEAST_SILENCE, self.configuration.supervisor.silence_periods * self.period)
        self.rig = make_rig(self.configuration)  # made before it is needed
        self.board = StatusBoard(self.names.board, plant.nx, plant.nu)
        self._alive = os.pidfd_open(process)

    def watch(self) -> int:
        """Watch until the loop is done or silent.

        Returns:
            Exit code.
        """
        beat, since = -1, time.monotonic()
        while True:
            gone = bool(select.select([self._alive], [], [], min(0.05, self.period / 2))[0])
            self.board.supervise()
            state, now = self.board.state, time.monotonic()
            if state is LoopState.STOPPED:
                return DONE
            if self.board.beat != beat or state < LoopState.RUNNING:
                beat, since = self.board.beat, now
            if gone and state < LoopState.ARMED:
                return DONE
            if gone or now - since > self.silence:
                self._act("died" if gone else f"was silent for {now - since:.2f} s")
                return ACTED

    def _act(self, what: str) -> None:
        """Kill, stop, confirm, latch."""
        if what != "died":
            signal.pidfd_send_signal(self._alive, signal.SIGKILL)
            select.select([self._alive], [], [], 2.0)
        reason = f"the loop (process {self.process}) {what} and the supervisor stopped the plant"
        latch(self.names, reason)
        confirmed = take_over(self.rig)
        if not confirmed:
            reason += "; the device has NOT confirmed that it holds its safe action"
            latch(self.names, reason)
        self._say(f"supervisor: {reason}; after a look at the plant: yannctl hil reset {self.config}")


def main(words: list[str]) -> int:
    """Watch a loop.

    Args:
        words: configuration and process.

    Returns:
        Exit code: 0 the loop ended by itself, 3 the supervisor has acted.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C stops the loop, and the loop says so
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a closed terminal must not take the watchdog away
    supervisor = Supervisor(Path(words[0]), int(words[1]), lambda line: print(line, file=sys.stderr, flush=True))
    print("ready", flush=True)
    return supervisor.watch()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
