"""Links on this machine for faults on purpose and for tests: ports, keys, cables, and the device at the other end."""

import contextlib
import os
import pty
import select
import socket
import subprocess
import sys
import threading
import tty
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from yannctl.errors import ModelError

from .authentication import private_file
from .messages import DeviceState

CODE = "from yannctl.cli.app import main; main()"


def link_section(link: str, folder: Path, stack: contextlib.ExitStack) -> str:
    """Write the [link] table of a link on this machine, with keys and ports of its own.

    Args:
        link: "udp", "zmq", "serial", "can", "opcua" or "ros2".
        folder: of the configuration; keys are put there.
        stack: keeps what the link needs open.

    Returns:
        TOML text.
    """
    if link in {"serial", "can"}:
        port, device_port = stack.enter_context(null_modem())
        if link == "serial":
            return f'[link]\nkind = "serial"\nport = "{port}"\ndevice_port = "{device_port}"\n'
        ends = f'channel = "{port}"\ndevice_channel = "{device_port}"\n'  # two serial adapters, joined by the cable
        return f'[link]\nkind = "can"\ninterface = "slcan"\n{ends}options = {{ sleep_after_open = 0 }}\n'
    if link == "udp":
        private_file(folder / "key", os.urandom(32).hex().encode())
        ends = f'host = "127.0.0.1:{free_port()}"\ndevice = "127.0.0.1:{free_port()}"\n'
        return f'[link]\nkind = "udp"\n{ends}key_file = "key"\n'
    if link == "opcua":
        from .opcua import write_certificate

        for end in ("host", "plc"):
            write_certificate(folder, end, f"urn:yannctl:{end}")
        keys = (
            'host_certificate = "host.der"\nhost_key = "host.pem"\nplc_certificate = "plc.der"\nplc_key = "plc.pem"\n'
        )
        return f'[link]\nkind = "opcua"\nendpoint = "opc.tcp://127.0.0.1:{free_port()}/yannctl"\n{keys}'
    if link == "ros2":
        return f'[link]\nkind = "ros2"\ndomain = {100 + os.getpid() % 100}\n'
    import zmq

    lines = ["[link]", 'kind = "zmq"', f'endpoint = "tcp://127.0.0.1:{free_port()}"']
    for end in ("host", "device"):
        public, secret = zmq.curve_keypair()
        private_file(folder / f"{end}_secret", secret)
        lines += [f'{end}_public = "{public.decode()}"', f'{end}_secret_file = "{end}_secret"']
    return "\n".join(lines) + "\n"


def free_port() -> int:
    """Find a port of the loopback interface that nobody uses now."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def null_modem() -> Iterator[tuple[str, str]]:
    """Join two pseudo-terminals by a thread: a serial cable, for trying the serial link without a board.

    Yields:
        Names of the two ends.
    """
    ends = [pty.openpty(), pty.openpty()]
    for master, slave in ends:
        tty.setraw(master)
        tty.setraw(slave)
        os.set_blocking(master, False)  # a wire waits for nobody: what is not read is lost
    stop = threading.Event()
    masters = [ends[0][0], ends[1][0]]

    def carry() -> None:
        while not stop.is_set():
            for source in select.select(masters, [], [], 0.05)[0]:
                with contextlib.suppress(OSError):
                    os.write(masters[1 - masters.index(source)], os.read(source, 4096))

    thread = threading.Thread(target=carry, daemon=True)
    thread.start()
    try:
        yield os.ttyname(ends[0][1]), os.ttyname(ends[1][1])
    finally:
        stop.set()
        thread.join()
        for pair in ends:
            for handle in pair:
                os.close(handle)


@contextlib.contextmanager
def running_device(
    config: Path, log: Path, environment: Mapping[str, str] | None = None
) -> "Iterator[subprocess.Popen[bytes]]":
    """Run `yannctl hil device` until the block ends.

    Args:
        config: configuration.
        log: CSV file it writes.
        environment: variables of its process; None for those of this one.

    Yields:
        Its process.

    Raises:
        ModelError: it does not start.
    """
    command = [sys.executable, "-c", CODE, "hil", "device", str(config), "--log", str(log)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    try:
        if process.stdout is None or b"device ready" not in process.stdout.readline():
            raise ModelError("device", "did not start")
        yield process
    finally:
        process.kill()
        process.communicate()


class DeviceLog:
    """The rows a device has written since a moment: time_ns, state, commands obeyed, states, inputs.

    Args:
        path: its CSV file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._start = path.stat().st_size if path.exists() else 0
        self._whole = self._start == 0

    def rows(self) -> np.ndarray:
        """Read them.

        Returns:
            (n, columns); without rows (0, 3).
        """
        if not self.path.exists():
            return np.zeros((0, 3))
        with open(self.path, encoding="ascii") as file:
            file.seek(self._start)
            lines = file.read().split("\n")[1:-1]  # the heading, or the rest of a row of before; and half a row
        return np.array([[float(word) for word in line.split(",")] for line in lines]) if lines else np.zeros((0, 3))

    def wait_for(self, condition: Callable[[np.ndarray], bool], seconds: float = 30.0) -> None:
        """Wait for rows; what is still missing at the end shows in the verdict.

        Args:
            condition: of the rows.
            seconds: how long [s].
        """
        pause = threading.Event()
        for _ in range(round(seconds / 0.05)):
            rows = self.rows()
            if len(rows) and condition(rows):
                return
            pause.wait(0.05)

    def wait_for_safety(self) -> None:
        """Wait until the device holds its safe action."""
        self.wait_for(lambda rows: bool(rows[-1, 1] == DeviceState.SAFE), 15.0)
