"""Proof of origin on a shared medium: HMAC-SHA256 over direction, message and header, with a key for each session.

The session's key comes from the shared key and a fresh nonce of either side, so a message of an earlier session, of the
other direction or of another device proves nothing. The tag is 128 bits. Nothing is hidden: use it where reading along
does no harm.
"""

import hashlib
import hmac
import os
import stat
import struct
from pathlib import Path

from yannctl.errors import ModelError

TAG_BYTES = 16
KEY_BYTES = 32


class Seal:
    """Tags of one direction of one session.

    Args:
        key: the session's key.
        label: direction and device, e.g. b"host:reactor-1".
    """

    def __init__(self, key: bytes, label: bytes) -> None:
        self._start = hmac.new(key, len(label).to_bytes(2, "little") + label, hashlib.sha256)

    def close(self, message: bytes) -> bytes:
        """Append the tag.

        Args:
            message: the message.

        Returns:
            Message and tag.
        """
        return message + self._tag(message)

    def open(self, sealed: bytes) -> bytes | None:
        """Check and remove the tag.

        Args:
            sealed: message and tag.

        Returns:
            The message, or None where the tag does not fit.
        """
        message, tag = sealed[:-TAG_BYTES], sealed[-TAG_BYTES:]
        return message if len(sealed) > TAG_BYTES and hmac.compare_digest(tag, self._tag(message)) else None

    def _tag(self, message: bytes) -> bytes:
        running = self._start.copy()
        running.update(message)
        return running.digest()[:TAG_BYTES]


def session_key(key: bytes, host_nonce: int, device_nonce: int) -> bytes:
    """Derive the key of a session: HMAC-SHA256(key, "session" | host nonce | device nonce).

    Args:
        key: the shared key.
        host_nonce: of HELLO.
        device_nonce: of WELCOME.

    Returns:
        32 bytes.
    """
    return hmac.new(key, b"session" + struct.pack("<QQ", host_nonce, device_nonce), hashlib.sha256).digest()


def read_private(path: str | Path) -> bytes:
    """Read a file that only its owner can read.

    Args:
        path: a small regular file.

    Returns:
        Its first 4 KiB.

    Raises:
        ModelError: it can be read by others.
        OSError: it cannot be read, or is a link.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if mode & 0o077:
            raise ModelError("key file", f"{path} can be read by others ({mode:o})", remedy=f"chmod 600 {path}")
        return file.read(4096)


def read_key(path: str | Path) -> bytes:
    """Read a shared key.

    Args:
        path: private file with 64 hexadecimal digits.

    Returns:
        32 bytes.

    Raises:
        ModelError: it can be read by others, or holds something else.
        OSError: it cannot be read, or is a link.
    """
    try:
        key = bytes.fromhex(read_private(path).decode("ascii").strip())
    except ValueError as error:
        if isinstance(error, ModelError):
            raise
        key = b""
    if len(key) != KEY_BYTES:
        remedy = "write the output of `openssl rand -hex 32` to it"
        raise ModelError("key file", f"{path} does not hold 64 hexadecimal digits", remedy=remedy)
    return key


def private_file(path: Path, data: bytes) -> None:
    """Write a file that only its owner can read.

    Args:
        path: the file; it must not exist.
        data: its bytes.
    """
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
