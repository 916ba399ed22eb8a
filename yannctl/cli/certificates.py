"""Certificates on the command line: proved again, and with the key that must have signed them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from yannctl.errors import FileFormatError, ModelError

from .console import Output


def verify_certificate(output: Output, file: Path, trusted: bytes | None) -> None:
    """Prove a certificate file again and end with the verdict.

    Args:
        output: where to print.
        file: the certificate file.
        trusted: public key that must have signed it, None for any or none.
    """
    from yannctl.assurance import CLAIM, load_certificate

    rows, found = _proved(lambda: load_certificate(file, trusted))
    output.table(f"{file}", ["check", "found", "verdict"], rows, CLAIM if found["ok"] else "")
    output.result({"ok": found["ok"], "certificate": found})
    if not found["ok"]:
        raise typer.Exit(1)


def certificate_rows(content: Any, name: str, trusted: bytes | None) -> tuple[list[list[str]], dict[str, Any] | None]:
    """Check the certificate a controller file holds; with a trusted key there must be one.

    Args:
        content: what `load_controller` gave, None for a law file.
        name: the file's name for messages.
        trusted: public key that must have signed it, None for any or none.

    Returns:
        Rows of the table, and what the JSON says.
    """
    from yannctl.export import certificate_of

    if content is None or not content.certificate:
        if trusted is None:
            return [], None
        failure = f"{name} holds no certificate that the trusted key could have signed"
        return [["certificate, proved again", failure, "FAILS"]], {"ok": False, "failure": failure}
    return _proved(lambda: certificate_of(content, name, trusted))


def _proved(read: Callable[[], Any]) -> tuple[list[list[str]], dict[str, Any]]:
    """Read a certificate, which proves it, and say what was found; who signed it is reported either way."""
    check = "certificate, proved again"
    try:
        certificate = read()
    except FileFormatError as error:
        return [[check, str(error), "FAILS"]], {"ok": False, "failure": str(error)}
    checked, said = certificate.check(), certificate.statement
    signed = f"signed by {certificate.signed_by}" if certificate.signed_by else "signature not asked for"
    rows = [
        [check, f"{checked.n_checked} statements for {said.plant}; {signed}", "holds"],
        ["what it covers, at sampling instants", said.note, "assumed of the plant"],
    ]
    return rows, {
        "ok": True, "failure": "", "inequalities": checked.n_checked, "plant": said.plant, "note": said.note,
        "signed_by": certificate.signed_by,
    }  # fmt: skip


def trusted_key(given: str | None) -> bytes | None:
    """Read a public key from a file of 32 bytes or from its 64 hexadecimal digits.

    Args:
        given: file or digits, None for no key.
    """
    if given is None:
        return None
    path = Path(given)
    try:
        key = path.read_bytes() if path.is_file() else bytes.fromhex(given)
    except ValueError as error:
        raise ModelError("--trusted", f"{given!r} is neither a file nor hexadecimal digits") from error
    if len(key) != 32:
        raise ModelError(
            "--trusted", f"holds {len(key)} bytes, expected 32", remedy="give the public key, not a text of it"
        )
    return key
