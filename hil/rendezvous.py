"""Where the processes of one run meet: names made from the path of the configuration, in a folder of the user's own.

One configuration drives one rig, so one process may run it at a time; a stop by the supervisor is latched beside it.
"""

import fcntl
import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from yannctl.errors import ModelError
from yannctl.files import write_whole

from .rig import RigError


@dataclass(frozen=True)
class Rendezvous:
    """Names of one run.

    Args:
        board: shared memory with the loop's state.
        port: socket that takes the operator's commands.
        lock: held by the process that drives.
        latch: exists after a stop by the supervisor, until `yannctl hil reset`.
    """

    board: str
    port: Path
    lock: Path
    latch: Path


def rendezvous(config: str | Path) -> Rendezvous:
    """Give the names of a configuration's run.

    Args:
        config: path of the file.

    Returns:
        The names; the folder exists and is the user's alone.

    Raises:
        ModelError: the folder belongs to somebody else.
    """
    path = Path(config).resolve()
    key = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"yannctl-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    facts = folder.lstat()
    if facts.st_uid != os.getuid() or stat.S_IMODE(facts.st_mode) & 0o077 or not stat.S_ISDIR(facts.st_mode):
        raise ModelError(str(folder), "can be used by others", remedy=f"remove it, or chmod 700 {folder}")
    latch = path.with_name(f"{path.name}.stopped")
    return Rendezvous(f"yannctl-{key}", folder / f"{key}.port", folder / f"{key}.lock", latch)


@contextmanager
def driving(names: Rendezvous) -> Iterator[None]:
    """Hold the right to drive: one process a configuration, and none while a stop is latched.

    Args:
        names: of the run.

    Yields:
        Nothing.

    Raises:
        RigError: another process drives, or a stop is latched.
    """
    if names.latch.exists():
        with suppress(OSError):
            raise RigError(f"latched: {names.latch.read_text().strip()}; look at the plant, then `yannctl hil reset`")
        raise RigError(f"latched: {names.latch}; look at the plant, then `yannctl hil reset`")
    handle = os.open(names.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise RigError("another process drives this rig already") from error
    try:
        yield
    finally:
        os.close(handle)


def latch(names: Rendezvous, reason: str) -> None:
    """Forbid the next run until somebody has looked.

    Args:
        names: of the run.
        reason: why.
    """
    write_whole(names.latch, (reason + "\n").encode())


def unlatch(names: Rendezvous) -> str:
    """Allow the next run again.

    Args:
        names: of the run.

    Returns:
        Why it was forbidden, "" if it was not.
    """
    if not names.latch.exists():
        return ""
    reason = names.latch.read_text().strip()
    names.latch.unlink()
    return reason
