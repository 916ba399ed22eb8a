"""A soft PLC with the plant inside: an OPC UA server with the variables, the guard and the cycle of a real one."""

import asyncio
import time
from typing import Any

import numpy as np

from yannctl.plant import AbstractPlant
from yannctl.types import ArrayLike, Float

from .device import DeviceGuard
from .messages import Arm, Command, DeviceState, Envelope, Stop
from .opcua import COMMAND, FOLDER, HEAD, MEASUREMENT, NAMESPACE, STOP, OpcuaAccess, opcua
from .plant_device import DeviceTick, OnTick

COMMAND_HEAD = 6  # kind, session, sequence, echo, valid_for_us, law_id


class SoftPlc:
    """One cycle a period: read Command and Stop, apply the input, advance the plant, write Measurement.

    Only the one client whose certificate is known may connect, with Basic256Sha256, signed and encrypted.

    Args:
        plant: the plant.
        x0: first state (nx,).
        access: endpoint and certificates; `peer_certificate` is the host's.
        guard: which commands are obeyed.
        dt: cycle time [s]; default the plant's.
        on_tick: called after every cycle.
    """

    def __init__(
        self,
        plant: AbstractPlant,
        x0: ArrayLike,
        access: OpcuaAccess,
        guard: DeviceGuard,
        dt: float | None = None,
        on_tick: OnTick | None = None,
    ) -> None:
        self.plant, self.access, self.guard, self._on_tick = plant, access, guard, on_tick
        self.x: Float[np.ndarray, " nx"] = np.array(x0, float)
        self._period = float(plant.dt if dt is None else dt)
        self._sequence = self._session = 0
        self._last: tuple[float, ...] = ()
        plant.step(self.x, plant.u_min)

    def run(self, seconds: float | None = None, ready: Any = None) -> None:
        """Serve and cycle.

        Args:
            seconds: for how long; None for ever.
            ready: called when clients may connect, or None.
        """
        asyncio.run(self._run(seconds, ready))

    async def _run(self, seconds: float | None, ready: Any) -> None:
        server = await self._server()
        index = await server.register_namespace(NAMESPACE)
        folder = await server.nodes.objects.add_folder(index, FOLDER)
        double = opcua().ua.VariantType.Double
        command = await folder.add_variable(index, COMMAND, [0.0] * (COMMAND_HEAD + self.plant.nu), double)
        stop = await folder.add_variable(index, STOP, False)
        measurement = await folder.add_variable(index, MEASUREMENT, self._measurement(), double)
        await command.set_writable()
        await stop.set_writable()
        async with server:
            if ready is not None:
                ready()
            start = deadline = time.monotonic()
            while seconds is None or deadline < start + seconds:
                deadline += self._period
                await asyncio.sleep(max(0.0, deadline - time.monotonic()))
                await self._cycle(command, stop)
                await measurement.write_value(self._measurement(), double)
                deadline += max(0, int((time.monotonic() - deadline) / self._period)) * self._period

    async def _server(self) -> Any:
        asyncua = opcua()
        from asyncua.server.user_managers import CertificateUserManager

        users = CertificateUserManager()
        await users.add_user(self.access.peer_certificate, "host")
        server = asyncua.Server(user_manager=users)
        await server.init()
        server.set_endpoint(self.access.endpoint)
        await server.set_application_uri(self.access.application)
        server.set_security_policy([asyncua.ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt])
        server.set_identity_tokens([asyncua.ua.X509IdentityToken])
        await server.load_certificate(str(self.access.certificate))
        await server.load_private_key(str(self.access.private_key))
        known = self.access.peer_certificate.read_bytes()

        async def only_the_host(certificate: Any, _description: Any) -> None:
            from cryptography.hazmat.primitives.serialization import Encoding

            if certificate.public_bytes(Encoding.DER) != known:
                raise asyncua.ua.uaerrors.BadCertificateUntrusted

        server.set_certificate_validator(only_the_host)
        return server

    async def _cycle(self, command: Any, stop: Any) -> None:
        now = time.monotonic_ns() // 1000
        if await stop.read_value():
            await stop.write_value(False)
            self.guard.receive(Envelope(Stop(), 0, 0, 0), now, self._sequence)
        numbers = tuple(await command.read_value())
        if numbers != self._last:
            self._last = numbers
            self._obey(numbers, now)
        u = self.guard.applied(now)
        if self.guard.state is not DeviceState.DISARMED:  # it stands still at x0 until it is armed
            self.x = np.asarray(self.plant.step(self.x, u), float)
        self._sequence += 1
        if self._on_tick is not None:
            counts = self.guard.counts["commands"]
            self._on_tick(DeviceTick(time.monotonic_ns(), self.x, u, int(self.guard.state), counts))

    def _obey(self, numbers: tuple[float, ...], now_us: int) -> None:
        """Hand a command to the guard; numbers that are no command are counted."""
        head = np.asarray(numbers[:COMMAND_HEAD], float)
        whole = len(numbers) == COMMAND_HEAD + self.plant.nu and bool(np.all(np.isfinite(numbers)))
        if not whole or not np.all((head >= 0) & (head < 2**53) & (head == np.floor(head))):
            self.guard.counts["malformed"] += 1
            return
        kind, session, sequence, echo, valid_us, law_id = (int(number) for number in head)
        if kind == Arm.kind:
            self.guard.receive(Envelope(Arm(law_id, valid_us), session, sequence, 0), now_us, self._sequence)
            if self.guard.state is DeviceState.ARMED:
                self._session = session
        elif kind == Command.kind:
            message = Command(np.array(numbers[COMMAND_HEAD:]), echo, valid_us, law_id)
            self.guard.receive(Envelope(message, session, sequence, 0), now_us, self._sequence)

    def _measurement(self) -> list[float]:
        u = self.guard.applied(time.monotonic_ns() // 1000)
        head = [self._sequence, time.monotonic_ns() // 1000, int(self.guard.state), self._session]
        values = [float(value) for value in (*head, *self.x, *u)]
        assert len(values) == HEAD + self.plant.nx + self.plant.nu
        return values
