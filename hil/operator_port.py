"""The operator's commands to a running loop, authority and stop, by a local socket of the same user."""

import json
import socket
from pathlib import Path

from yannctl.errors import ModelError

from .blend import Blended
from .rig import RigError
from .tick import AbstractAttendant, LoopTick

MAX_BYTES = 512
PER_TICK = 8


class OperatorPort(AbstractAttendant):
    """Takes commands between two ticks; what is no command is counted and dropped.

    Args:
        path: of the socket; its folder must be the user's own.
        blend: whose authority may be changed, or None.
    """

    def __init__(self, path: Path, blend: Blended | None) -> None:
        self._path, self._blend, self.refused = path, blend, 0
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(str(path))
        path.chmod(0o600)

    def boundary(self) -> str:
        """Obey what has arrived."""
        reason = ""
        for _ in range(PER_TICK):
            try:
                data = self._socket.recv(MAX_BYTES)
            except BlockingIOError:
                break
            reason = self._obey(data) or reason
        return reason

    def ticked(self, tick: LoopTick) -> None:
        """Nothing to do."""

    def ended(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Take the socket away."""
        self._socket.close()
        self._path.unlink(missing_ok=True)

    def _obey(self, data: bytes) -> str:
        """Reason to stop, or ""."""
        try:
            command = json.loads(data)
            if set(command) == {"stop"}:
                return str(command["stop"])[:200] or "by the operator"
            if set(command) != {"authority"} or self._blend is None:
                raise ValueError
            self._blend.authority = float(command["authority"])
        except (ValueError, TypeError):
            self.refused += 1
        return ""


def send_command(path: Path, authority: float | None = None, stop: str | None = None) -> None:
    """Send one command to a running loop.

    Args:
        path: of its socket.
        authority: share of the proposal, 0 to 1.
        stop: why to stop.

    Raises:
        ModelError: none or both, or an authority outside 0 to 1.
        RigError: no loop runs.
    """
    if (authority is None) == (stop is None):
        raise ModelError("command", "takes one of authority and stop")
    if authority is not None and not 0 <= authority <= 1:
        raise ModelError("authority", f"is {authority}", remedy="give 0 (shadow) to 1")
    content = {"stop": stop} if authority is None else {"authority": authority}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        try:
            out.sendto(json.dumps(content).encode(), str(path))
        except OSError as error:
            raise RigError("no loop runs with this configuration") from error
