"""Files that are written whole or not at all."""

import errno
import os
from contextlib import suppress
from pathlib import Path


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that a reader, a crash or a full disk never leaves half of it.

    The bytes go to a temporary file in the same folder, are forced to disk, and take the name in one step.

    Args:
        path: file to write; its folder is created.
        data: all of its bytes.

    Raises:
        OSError: if the disk is full or the folder cannot be written; it names `path`, and an older file is untouched.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _naming(error, path) from error
        raise
    _sync_folder(path.parent)


def _naming(error: OSError, path: Path) -> OSError:
    """The same error about the file the caller asked for, whose name is not the temporary one."""
    if isinstance(error, FileExistsError):  # from making the folder: part of its path is a file
        return NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
    return OSError(error.errno, error.strerror or str(error), str(path))


def _sync_folder(folder: Path) -> None:
    """Force the new name itself to disk, where the system allows a folder to be opened."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
