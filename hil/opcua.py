"""A PLC over OPC UA: signed and encrypted, both certificates known beforehand, nobody anonymous.

The PLC keeps three variables in one folder of its namespace, all arrays of Double so that any PLC can serve them:

    Measurement  sequence, time_us, state, session, x ..., u_applied ...      (the PLC writes it every cycle)
    Command      kind, session, sequence, echo, valid_for_us, law_id, u ...   (the host writes it at once)
    Stop         Boolean; the PLC latches its safe action when it is true

The rules by which the PLC obeys are those of `DeviceGuard`; the expiry makes a lost connection harmless.
"""

import asyncio
import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from yannctl.errors import ModelError, NotInstalledError
from yannctl.types import Float

from .authentication import read_private
from .clock import MonotonicClock
from .linked import HANDSHAKE_SECONDS, Features
from .messages import Arm, Command, DeviceState
from .rig import AbstractRig, RigError, Sample, allowed_input

NAMESPACE = "urn:yannctl:plant"
FOLDER, MEASUREMENT, COMMAND, STOP = "Plant", "Measurement", "Command", "Stop"
HEAD = 4  # sequence, time_us, state, session
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class OpcuaAccess:
    """Where the PLC is and who may talk to it.

    Args:
        endpoint: e.g. "opc.tcp://127.0.0.1:4840/yannctl".
        certificate: this end's certificate (DER).
        private_key: its key (PEM), mode 0600.
        peer_certificate: the other end's certificate (DER), the only one believed.
        application: URI in this end's certificate.
    """

    endpoint: str
    certificate: Path
    private_key: Path
    peer_certificate: Path
    application: str

    def __post_init__(self) -> None:
        if not self.endpoint.startswith("opc.tcp://"):
            raise ModelError("endpoint", f"is {self.endpoint!r}", remedy="give opc.tcp://host:port/path")
        read_private(self.private_key)


class OpcuaRig(AbstractRig):
    """The host's end of a PLC.

    Args:
        access: where it is, and the certificates.
        features: what the plant is.
        law_id: 32-bit number of the controller; the PLC refuses any other.
        hold_periods: periods a command may be held.
        patience: share of the period that a read waits for a fresh measurement.

    Raises:
        NotInstalledError: the package `asyncua` is missing.
    """

    def __init__(
        self, access: OpcuaAccess, features: Features, law_id: int, hold_periods: int = 2, patience: float = 0.4
    ) -> None:
        opcua()
        for name, value in vars(features).items():
            setattr(self, name, value)
        if hold_periods < 1:
            raise ModelError("hold_periods", f"is {hold_periods}", remedy="a command lives at least one period")
        self.access, self.law_id, self.clock = access, law_id, MonotonicClock()
        self.stop_reason = ""
        self.applied: Float[np.ndarray, " nu"] | None = None
        self._valid_us = round(hold_periods * self.dt * 1e6)
        self._wait = patience * self.dt
        self._session = self._sequence = 0
        self._sample: Sample | None = None
        self._state, self._plc_session = DeviceState.DISARMED, 0
        self._armed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._client: Any = None
        self._nodes: dict[str, Any] = {}
        self.tap: Callable[[str, Any], Any] | None = None  # for faults on purpose: (name, node) to another

    def open(self) -> None:
        """Connect with signature and encryption.

        Raises:
            RigError: the PLC cannot be reached, is not the one expected, or does not serve the variables.
        """
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="opcua", daemon=True)
        self._thread.start()
        try:
            self._await(self._connect(), 10.0)
        except Exception as error:
            self.close()
            raise RigError(f"cannot connect to {self.access.endpoint}: {_text(error)}") from error

    async def _connect(self) -> None:
        asyncua = opcua()
        client = asyncua.Client(self.access.endpoint, timeout=2)
        client.application_uri = self.access.application
        policy = asyncua.crypto.security_policies.SecurityPolicyBasic256Sha256
        ends = self.access
        peer = ends.peer_certificate.read_bytes()
        await client.set_security(policy, str(ends.certificate), str(ends.private_key), server_certificate=peer)
        await client.load_client_certificate(str(ends.certificate))
        await client.load_private_key(str(ends.private_key))
        await client.connect()
        self._client = client
        index = await client.get_namespace_index(NAMESPACE)
        folder = await client.nodes.objects.get_child([f"{index}:{FOLDER}"])
        for name in (MEASUREMENT, COMMAND, STOP):
            node = await folder.get_child([f"{index}:{name}"])
            self._nodes[name] = node if self.tap is None else self.tap(name, node)
        self._take(await self._nodes[MEASUREMENT].read_value())

    def arm(self) -> None:
        """Have the PLC accept commands of this controller.

        Raises:
            RigError: it refuses, or the rig is not open or was stopped.
        """
        if self._client is None or self.stop_reason:
            raise RigError(f"cannot arm: {self.stop_reason or 'the rig is not open'}")
        self._session, self._sequence = secrets.randbelow(2**32 - 1) + 1, 0
        self._send(Arm.kind, np.zeros(len(self.u_names)), echo=0)
        end = time.monotonic() + HANDSHAKE_SECONDS
        while not (self._state is DeviceState.ARMED and self._plc_session == self._session):
            if time.monotonic() > end:
                raise RigError(
                    f"the PLC did not arm: it is {self._state.name}; is it ready, and made for this controller?"
                )
            self._poll()
        self._armed = True

    def read(self, deadline_ns: int) -> Sample:
        """Take the newest measurement, waiting a part of the period for a fresh one.

        Args:
            deadline_ns: return by then [ns].

        Returns:
            The measurement, or the one before.

        Raises:
            RigError: the connection is broken, or the PLC has given up.
        """
        before = -1 if self._sample is None else self._sample.sequence
        until = min(deadline_ns, self.clock.now_ns() + round(self._wait * 1e9))
        while True:
            self._poll()
            if self._armed and self._state is DeviceState.SAFE:
                raise RigError("the PLC holds its safe action: a command came too late, or it was stopped")
            if self._sample is not None and (self._sample.sequence > before or self.clock.now_ns() >= until):
                return self._sample

    def write(self, u: Float[np.ndarray, " nu"], deadline_ns: int) -> Float[np.ndarray, " nu"]:
        """Write a command with its expiry.

        Args:
            u: input (nu,).
            deadline_ns: unused, the write is sent at once or fails.

        Returns:
            The input sent.

        Raises:
            RigError: the rig is not armed, or the connection is broken.
        """
        if not self._armed:
            raise RigError(f"cannot write: {self.stop_reason or 'the rig is not armed'}")
        sent = allowed_input(u, self.u_min, self.u_max, self.safe_action, self.input_rows)
        self._send(Command.kind, sent, 0 if self._sample is None else self._sample.sequence)
        return sent

    def stop(self, reason: str) -> None:
        """Write Stop and wait until the PLC shows its safe state.

        Args:
            reason: why.

        Raises:
            RigError: it never does.
        """
        self._armed = False
        if self.stop_reason or self._client is None:
            return
        end = time.monotonic() + HANDSHAKE_SECONDS
        while self._state is not DeviceState.SAFE:
            with contextlib.suppress(RigError):
                self._await(self._nodes[STOP].write_value(True), 0.5)
                self._poll()
            if time.monotonic() > end:
                raise RigError("the PLC does not confirm the stop; its own watchdog must act")
        self.stop_reason = reason

    def close(self) -> None:
        """Disconnect and end the thread."""
        self._armed = False
        if self._loop is None:
            return
        if self._client is not None:
            with contextlib.suppress(RigError):
                self._await(self._client.disconnect(), 2.0)
        self._client = None
        with contextlib.suppress(RigError):
            self._await(_cancel_others(), 2.0)  # what waits on a dead connection must not outlive it
        self._loop.call_soon_threadsafe(self._loop.stop)
        if self._thread is not None:
            self._thread.join(5.0)
        self._loop.close()
        self._loop = None

    def _poll(self) -> None:
        self._take(self._await(self._nodes[MEASUREMENT].read_value(), max(0.5, self.dt)))

    def _take(self, values: Any) -> None:
        """Keep a measurement; one that does not fit is dropped."""
        numbers = np.asarray(values, float)
        nx, nu = len(self.x_names), len(self.u_names)
        if numbers.shape != (HEAD + nx + nu,) or not np.all(np.isfinite(numbers[:HEAD])):
            raise RigError(f"Measurement holds {numbers.shape} numbers, expected {HEAD + nx + nu}")
        self._state, self._plc_session = DeviceState(int(numbers[2])), int(numbers[3])
        if self._sample is None or int(numbers[0]) > self._sample.sequence:
            self._sample = Sample(numbers[HEAD : HEAD + nx], self.clock.now_ns(), int(numbers[0]))
            self.applied = numbers[HEAD + nx :]

    def _send(self, kind: int, u: Float[np.ndarray, " nu"], echo: int) -> None:
        self._sequence += 1
        head = [kind, self._session, self._sequence, echo, self._valid_us, self.law_id]
        self._await(
            self._nodes[COMMAND].write_value([float(number) for number in head] + u.tolist()), max(0.5, self.dt)
        )

    def _await(self, call: Coroutine[Any, Any, _Result], seconds: float) -> _Result:
        """Result of a call in the client's thread."""
        if self._loop is None:
            call.close()
            raise RigError("the rig is not open")
        future = asyncio.run_coroutine_threadsafe(call, self._loop)
        try:
            return future.result(seconds)
        except TimeoutError as error:
            future.cancel()
            raise RigError(f"no answer from {self.access.endpoint} within {seconds:g} s") from error
        except RigError:
            raise
        except Exception as error:
            raise RigError(f"{self.access.endpoint}: {_text(error)}") from error


async def _cancel_others() -> None:
    """End every task of the loop but this one."""
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def opcua() -> Any:
    """Import asyncua with what is used of it.

    Returns:
        The module.

    Raises:
        NotInstalledError: it is missing.
    """
    try:
        import asyncua
        import asyncua.crypto.security_policies
    except ImportError as error:
        raise NotInstalledError("OPC UA needs asyncua: pip install 'yannctl[opcua]'") from error
    return asyncua


def write_certificate(folder: str | Path, name: str, application: str, host: str = "127.0.0.1") -> tuple[Path, Path]:
    """Make a key and a self-signed certificate for one end, valid for a year.

    Args:
        folder: where to put NAME.der and NAME.pem; the key is readable by its owner only.
        name: of the end.
        application: its URI, e.g. "urn:plant:host".
        host: address it is reached at.

    Returns:
        Certificate and private key.
    """
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509.oid import ExtendedKeyUsageOID

    opcua()
    from asyncua.crypto import cert_gen

    from yannctl.files import write_whole

    folder = Path(folder)
    key = cert_gen.generate_private_key()
    names = [x509.UniformResourceIdentifier(application), x509.IPAddress(ipaddress.ip_address(host))]
    uses = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
    certificate = cert_gen.generate_self_signed_app_certificate(key, name, {"organizationName": "yannctl"}, names, uses)
    paths = folder / f"{name}.der", folder / f"{name}.pem"
    write_whole(paths[0], certificate.public_bytes(Encoding.DER))
    paths[1].touch(mode=0o600)
    paths[1].write_bytes(cert_gen.dump_private_key_as_pem(key))
    return paths
