"""Ed25519 signatures over all bytes of a file whose header keeps room for one."""

import json
import os
import stat
from pathlib import Path

from yannctl.errors import FileFormatError, ModelError

MAX_BYTES = 1 << 28
_EMPTY = b"0" * 128
_FIELD = b'\\"signature\\": \\"'  # as it stands inside the JSON text that safetensors quotes once more


def new_key() -> bytes:
    """Make a private key (32 bytes); keep it in a file of mode 0600."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.generate().private_bytes_raw()


def public_key(key: bytes) -> bytes:
    """Give the public key (32 bytes) of a private one.

    Args:
        key: private key (32 bytes).
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(_key_bytes("key", key)).public_key().public_bytes_raw()


def sign(raw: bytes, key: bytes) -> bytes:
    """Put the signature of a file into its place.

    Args:
        raw: the file, its signature field all zeros.
        key: private key (32 bytes).

    Returns:
        The signed file.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    start = _place(raw)
    if raw[start : start + 128] != _EMPTY:
        raise ModelError("raw", "is signed already")
    private = Ed25519PrivateKey.from_private_bytes(_key_bytes("key", key))
    digits = private.sign(raw).hex().encode()
    return raw[:start] + digits + raw[start + 128 :]


def verify_signature(raw: bytes, stated: str, trusted: bytes | None) -> str:
    """Check the signature of a file.

    Args:
        raw: the file.
        stated: the signature as the header states it (128 hexadecimal digits, zeros for none).
        trusted: public key (32 bytes) that must have signed it; None takes the file as it is.

    Returns:
        The public key in hexadecimal digits, empty when none was asked for.

    Raises:
        FileFormatError: no signature, or one that does not fit.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if trusted is None:
        return ""
    start = _place(raw)
    found = raw[start : start + 128]
    if found == _EMPTY:
        raise FileFormatError("the file is not signed; sign it, or read it without asking for a key")
    unsigned = raw[:start] + _EMPTY + raw[start + 128 :]
    try:
        if found.decode("ascii") != stated:
            raise FileFormatError("the signature is not where it belongs; the file was changed")
        Ed25519PublicKey.from_public_bytes(_key_bytes("trusted", trusted)).verify(bytes.fromhex(stated), unsigned)
    except (InvalidSignature, ValueError, UnicodeDecodeError) as error:
        if isinstance(error, FileFormatError):
            raise
        raise FileFormatError("the signature does not fit: the file was changed, or signed with another key") from error
    return trusted.hex()


def read_bounded(path: Path) -> bytes:
    """Read a regular file of bounded size; links, pipes and devices are refused.

    Args:
        path: the file.

    Returns:
        All of its bytes.

    Raises:
        FileFormatError: not a regular file of 16 bytes to 256 MiB.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)
    with os.fdopen(os.open(path, flags), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or not 16 <= status.st_size <= MAX_BYTES:
            raise FileFormatError(f"{path}: not a regular file of 16 to {MAX_BYTES} bytes")
        return file.read(MAX_BYTES)


def header_of(raw: bytes) -> dict:
    """Give the JSON header of safetensors bytes.

    Args:
        raw: the file.
    """
    return json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])


def _place(raw: bytes) -> int:
    """Where the signature's digits begin: in the header, never in the numbers."""
    end = 8 + int.from_bytes(raw[:8], "little")
    at = raw.find(_FIELD, 8, end)
    if at < 0 or at + len(_FIELD) + 128 > end:
        raise FileFormatError("the header has no place for a signature")
    return at + len(_FIELD)


def _key_bytes(name: str, key: bytes) -> bytes:
    if len(key) != 32:
        raise ModelError(name, f"has {len(key)} bytes, expected 32")
    return key
