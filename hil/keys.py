"""Keys and certificates that a link needs, made once; existing files are never touched."""

import os
from dataclasses import dataclass
from pathlib import Path

from yannctl.errors import ModelError, NotInstalledError

from .authentication import KEY_BYTES, private_file
from .configuration import Configuration, OpcuaLinkSection, UdpLinkSection, ZmqLinkSection


@dataclass(frozen=True)
class MadeKeys:
    """What was made.

    Args:
        files: in the order they were written.
        lines: to be put into the configuration.
    """

    files: tuple[Path, ...]
    lines: tuple[str, ...] = ()


def make_keys(configuration: Configuration) -> MadeKeys:
    """Make what a configuration names: the shared key of UDP, the pairs of ZeroMQ, the certificates of OPC UA.

    Args:
        configuration: the file.

    Returns:
        Files and lines.

    Raises:
        ModelError: a link without keys, or a file that is there already.
        NotInstalledError: the link's package is missing.
    """
    link = configuration.link
    if isinstance(link, UdpLinkSection):
        _refuse([link.key_file])
        link.key_file.parent.mkdir(parents=True, exist_ok=True)
        private_file(link.key_file, os.urandom(KEY_BYTES).hex().encode())
        return MadeKeys((link.key_file,))
    if isinstance(link, ZmqLinkSection):
        return _pairs(link)
    if isinstance(link, OpcuaLinkSection):
        return _certificates(link)
    raise ModelError("link.kind", f"is {link.kind!r}, which has no keys", remedy="only udp, zmq and opcua have")


def _pairs(link: ZmqLinkSection) -> MadeKeys:
    """A pair for each end whose secret file is named."""
    try:
        import zmq
    except ImportError as error:
        raise NotInstalledError("ZeroMQ: pip install 'yannctl[zmq]'") from error
    ends = {"host": link.host_secret_file, "device": link.device_secret_file}
    named = {end: path for end, path in ends.items() if path is not None}
    _refuse(list(named.values()))
    lines = []
    for end, path in named.items():
        public, secret = zmq.curve_keypair()
        path.parent.mkdir(parents=True, exist_ok=True)
        private_file(path, secret)
        lines.append(f'{end}_public = "{public.decode()}"')
    return MadeKeys(tuple(named.values()), tuple(lines))


def _certificates(link: OpcuaLinkSection) -> MadeKeys:
    """A key and a certificate for each end whose key is named."""
    from .opcua import write_certificate

    ends = {
        "host": (link.host_certificate, link.host_key, link.host_application),
        "plc": (link.plc_certificate, link.plc_key, link.plc_application),
    }
    made: list[Path] = []
    for end, (certificate, key, _) in ends.items():
        if key is not None and (certificate.with_suffix(".pem") != key or certificate.suffix != ".der"):
            text = f"{key} beside {certificate}"
            raise ModelError(f"link.{end}_key", f"is {text}", remedy=f"name them {end}.der and {end}.pem in one folder")
        made += [] if key is None else [certificate, key]
    _refuse(made)
    for certificate, key, application in ends.values():
        if key is not None:
            write_certificate(certificate.parent, certificate.stem, application)
    return MadeKeys(tuple(made))


def _refuse(files: list[Path]) -> None:
    """Refuse to write over keys, and to write none."""
    if not files:
        raise ModelError("link", "names no private key of its own", remedy="name the file it shall be written to")
    there = [file for file in files if file.exists()]
    if there:
        raise ModelError("link", f"{there[0]} exists", remedy="keys are never overwritten; move it away first")
