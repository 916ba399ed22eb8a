"""Files that survive a crash and a full disk: written whole or not at all, or appended record by record."""

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
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            _write_all(handle, data)
            os.fsync(handle)
        finally:
            os.close(handle)
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _naming(error, path) from error
        raise
    _sync_folder(path.parent)


class AppendFile:
    """A file that only grows; what `append` has returned from survives the death of this process.

    The bytes are handed to the system at once, so only a power failure can lose them, and not even that after `sync`.
    After an error the file is closed to further writing: a failed write may have left part of a record, which the next
    opening has to cut off with `size`.

    Args:
        path: the file; its folder is created.
        size: bytes to keep of an older file; None: all of it.

    Raises:
        OSError: if it cannot be opened or cut.
    """

    def __init__(self, path: Path, size: int | None = None) -> None:
        self.path = Path(path)
        self._failed = False
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            if size is not None and os.fstat(self._handle).st_size > size:
                os.ftruncate(self._handle, size)
        except OSError as error:
            raise _naming(error, self.path) from error

    def append(self, data: bytes) -> None:
        """Write at the end.

        Args:
            data: the bytes.

        Raises:
            OSError: if they cannot all be written, now or at an earlier call.
        """
        if self._failed:
            raise OSError(errno.EIO, "an earlier write to it failed", str(self.path))
        try:
            _write_all(self._handle, data)
        except OSError as error:
            self._failed = True
            raise _naming(error, self.path) from error

    def sync(self) -> None:
        """Force everything to disk.

        Raises:
            OSError: if that fails; it is not tried again, since a second success would mean nothing.
        """
        if self._failed:
            raise OSError(errno.EIO, "an earlier write to it failed", str(self.path))
        try:
            os.fsync(self._handle)
        except OSError as error:
            self._failed = True
            raise _naming(error, self.path) from error

    def close(self) -> None:
        """Give the file back; harmless when repeated."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def _write_all(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


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
