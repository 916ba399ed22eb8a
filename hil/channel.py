"""One end of a device link: headers, sequence numbers, sessions and proofs of origin around an `AbstractLink`."""

import secrets
from collections import Counter
from typing import Literal

from yannctl.errors import ModelError

from .authentication import Seal, session_key
from .can_messages import CanCodec
from .links import AbstractLink
from .messages import (
    MAX_SEQUENCE,
    Envelope,
    Hello,
    Message,
    MessageCodec,
    MessageError,
    Stop,
    Welcome,
    session_number,
)
from .rig import RigError

_OTHER = {"host": "device", "device": "host"}


class Channel:
    """Typed messages over a link; what is damaged, forged, repeated or of another session is dropped and counted.

    HELLO and WELCOME prove their origin with the shared key, everything after them with the session's. STOP alone is
    believed without proof: stopping is always safe.

    Args:
        link: carries the bytes.
        codec: the layout of the plant's messages.
        role: which end this is.
        key: shared key of 32 bytes; None only where the link's medium is not shared or the link itself encrypts.
        device: name of the device, part of every proof.

    Raises:
        ModelError: a shared medium without a key.
    """

    def __init__(
        self,
        link: AbstractLink,
        codec: MessageCodec | CanCodec,
        role: Literal["host", "device"],
        key: bytes | None = None,
        device: str = "device",
    ) -> None:
        if link.shared and key is None:
            raise ModelError("key", "is missing", remedy="a link that strangers can reach needs a key file")
        self.link, self.codec, self.role = link, codec, role
        self.counts: Counter[str] = Counter()
        self.session = 0
        self._key, self._labels = key, {end: f"{end}:{device}".encode() for end in _OTHER}
        self._nonce = 0
        self._sent = self._heard = 0
        self._hello = self._seals(key)
        self._seal = self._hello

    def _seals(self, key: bytes | None) -> tuple[Seal, Seal] | None:
        """Seals of what is sent and of what is received."""
        return None if key is None else (Seal(key, self._labels[self.role]), Seal(key, self._labels[_OTHER[self.role]]))

    def hello(self) -> int:
        """Choose a fresh nonce and send HELLO (host).

        Returns:
            The nonce.
        """
        self._nonce = secrets.randbits(64)
        self._send(Envelope(Hello(self._nonce), 0, 0, 0), self._hello)
        return self._nonce

    def welcome(self, hello: Hello) -> None:
        """Answer HELLO with a fresh nonce of this end and begin the session (device).

        Args:
            hello: what the host sent.
        """
        nonce = secrets.randbits(64)
        self._send(Envelope(Welcome(nonce, hello.nonce), 0, 0, 0), self._hello)
        self._begin(hello.nonce, nonce)

    def joined(self, welcome: Welcome) -> bool:
        """Begin the session if WELCOME answers this end's HELLO (host).

        Args:
            welcome: what the device sent.

        Returns:
            Whether it did.
        """
        if welcome.answers != self._nonce:
            self.counts["other_session"] += 1
            return False
        self._begin(self._nonce, welcome.nonce)
        return True

    def _begin(self, host_nonce: int, device_nonce: int) -> None:
        self.session = session_number(host_nonce, device_nonce)
        self._sent = self._heard = 0
        if self._key is not None:
            self._seal = self._seals(session_key(self._key, host_nonce, device_nonce))

    def send(self, message: Message, time_us: int) -> int:
        """Send a message of the session.

        Args:
            message: the message.
            time_us: clock of this end [us].

        Returns:
            Its sequence number.

        Raises:
            RigError: the counter has run out, or the link is broken.
        """
        if self._sent >= MAX_SEQUENCE:
            raise RigError("the session's counter has run out; start a new session")
        self._sent += 1
        self._send(Envelope(message, self.session, self._sent, time_us), self._seal)
        return self._sent

    def send_stop(self, reason: int = 0) -> None:
        """Send STOP without a session or a proof, as whoever sees danger may.

        Args:
            reason: number for the log.

        Raises:
            RigError: the link is broken.
        """
        self.link.send(self.codec.pack(Envelope(Stop(reason), 0, 0, 0)))

    def _send(self, envelope: Envelope, seals: tuple[Seal, Seal] | None) -> None:
        data = self.codec.pack(envelope)
        self.link.send(data if seals is None else seals[0].close(data))

    def receive(self, deadline_ns: int) -> list[Envelope]:
        """Take the messages that are whole, proved, of this session and newer than all before.

        Args:
            deadline_ns: wait for a first message until then [ns].

        Returns:
            Messages in order; HELLO and WELCOME among them.

        Raises:
            RigError: the link is broken.
        """
        envelopes = (self._check(data) for data in self.link.receive(deadline_ns))
        return [envelope for envelope in envelopes if envelope is not None]

    def _check(self, data: bytes) -> Envelope | None:
        """The envelope, or None and a count."""
        try:
            envelope = self._open(data)
        except MessageError:
            return self._drop("malformed")
        if envelope is None:
            return self._drop("forged")
        if isinstance(envelope.message, Stop):
            return envelope
        if isinstance(envelope.message, Hello | Welcome):
            wanted = Hello if self.role == "device" else Welcome
            return envelope if isinstance(envelope.message, wanted) else self._drop("wrong_direction")
        if envelope.session != self.session or self.session == 0:
            return self._drop("other_session")
        if envelope.sequence <= self._heard:
            return self._drop("replayed")
        self._heard = envelope.sequence
        self.counts["accepted"] += 1
        return envelope

    def _open(self, data: bytes) -> Envelope | None:
        """The envelope if its origin is proved by the key that its kind asks for, or if it is a bare STOP."""
        if self._hello is None or self._seal is None:
            return self.codec.unpack(data)
        for seals in (self._seal, self._hello):
            message = seals[1].open(data)
            if message is not None:
                envelope = self.codec.unpack(message)
                greeting = isinstance(envelope.message, Hello | Welcome)
                return envelope if greeting == (seals is self._hello) else None
        try:
            bare = self.codec.unpack(data)
        except MessageError:
            return None
        return bare if isinstance(bare.message, Stop) else None

    def _drop(self, cause: str) -> None:
        self.counts[cause] += 1
