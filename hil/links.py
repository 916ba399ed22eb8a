"""Links that carry whole messages: UDP, a serial line, ZeroMQ. They are opened late and never block past a deadline."""

import socket
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import Any

from yannctl.errors import ModelError, NotInstalledError

from .framing import FrameDecoder, encode_frame
from .rig import RigError

MAX_DATAGRAM = 2048  # far above any message; what is longer is cut by the socket and fails its checks


class AbstractLink(ABC):
    """A way for messages between two ends; messages may be lost, doubled, reordered or damaged.

    Attributes:
        shared: whether strangers can put messages on it, so that each must prove its origin.
        peer: where the other end is, for messages to people.
    """

    shared: bool
    peer: str = "the other end"

    @abstractmethod
    def open(self) -> None:
        """Get the port.

        Raises:
            RigError: it cannot be had.
        """

    @abstractmethod
    def send(self, message: bytes) -> None:
        """Send a message at once.

        Args:
            message: its bytes.

        Raises:
            RigError: the link is broken.
        """

    @abstractmethod
    def receive(self, deadline_ns: int) -> list[bytes]:
        """Take what has arrived; wait for a first message until the deadline.

        Args:
            deadline_ns: time of the monotonic clock [ns].

        Returns:
            Messages in the order of arrival, perhaps none.

        Raises:
            RigError: the link is broken.
        """

    @abstractmethod
    def close(self) -> None:
        """Give the port back; harmless when repeated."""


def remaining(deadline_ns: int) -> float:
    """Time to a deadline, 0 when it has passed [s].

    Args:
        deadline_ns: time of the monotonic clock [ns].
    """
    return max(0.0, (deadline_ns - time.monotonic_ns()) * 1e-9)


class UdpLink(AbstractLink):
    """Datagrams between two fixed addresses; what comes from elsewhere is dropped.

    Args:
        local: address and port of this end; bind to loopback or to the plant's own network.
        remote: of the other end; None where it is learnt from the first datagram (the device).
    """

    shared = True

    def __init__(self, local: tuple[str, int], remote: tuple[str, int] | None) -> None:
        self.local, self.remote = local, remote
        self.peer = "nowhere yet" if remote is None else f"UDP {remote[0]}:{remote[1]}"
        self._socket: socket.socket | None = None
        self._last_sender: tuple[str, int] | None = None

    def open(self) -> None:
        """Bind the socket."""
        family = socket.AF_INET6 if ":" in self.local[0] else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        try:
            self._socket.bind(self.local)
        except OSError as error:
            self.close()
            raise RigError(f"cannot bind UDP {self.local[0]}:{self.local[1]}: {error.strerror}") from error
        self.local = self._socket.getsockname()[:2]

    def send(self, message: bytes) -> None:
        """Send a datagram; nobody listening is not an error, the other end's silence is what counts."""
        if self._socket is None:
            raise RigError("the UDP link is not open")
        if self.remote is None:
            return
        try:
            self._socket.sendto(message, self.remote)
        except ConnectionRefusedError:
            pass
        except OSError as error:
            raise RigError(f"cannot send to {self.remote[0]}:{self.remote[1]}: {error.strerror}") from error

    def receive(self, deadline_ns: int) -> list[bytes]:
        """Take the waiting datagrams."""
        if self._socket is None:
            raise RigError("the UDP link is not open")
        messages: list[bytes] = []
        wait = remaining(deadline_ns)
        while len(messages) < 64:  # a flood must not hold the loop
            try:
                self._socket.settimeout(0.0 if messages or wait <= 0 else wait)
                data, sender = self._socket.recvfrom(MAX_DATAGRAM)
            except (BlockingIOError, TimeoutError):
                break
            except ConnectionRefusedError:
                continue
            wait = remaining(deadline_ns)
            if self.remote is None or sender[:2] == self.remote:
                self._last_sender = sender[:2]
                messages.append(data)
        return messages

    def adopt(self) -> None:
        """Answer the sender of the last datagram from now on: the device calls it after a proved HELLO."""
        self.remote = self._last_sender

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class SerialLink(AbstractLink):
    """A serial line with COBS frames and CRC-32. Whoever can touch the wire is trusted.

    Args:
        port: device file, e.g. /dev/ttyACM0, or the end of a pseudo-terminal.
        baud: speed [bit/s].
        max_size: length of the longest message [bytes].
    """

    shared = False

    def __init__(self, port: str, baud: int, max_size: int) -> None:
        if baud < 9600:
            raise ModelError("baud", f"is {baud}", remedy="give at least 9600 bit/s")
        self.port, self.baud, self.max_size, self.peer = port, baud, max_size, f"the serial port {port}"
        self._serial: Any = None
        self._decoder: FrameDecoder | None = None

    @property
    def counts(self) -> dict[str, int]:
        """Frames taken and dropped."""
        return {} if self._decoder is None else dict(self._decoder.counts)

    def open(self) -> None:
        """Open the port for itself alone."""
        try:
            import serial
        except ImportError as error:
            raise NotInstalledError("a serial line needs pyserial: pip install 'yannctl[serial]'") from error
        self._decoder = FrameDecoder(self.max_size)
        try:
            self._serial = serial.Serial(self.port, self.baud, timeout=0, write_timeout=0, exclusive=True)
            self._serial.write(b"\0")  # ends whatever half frame stands on the line
        except (serial.SerialException, OSError) as error:
            self.close()
            raise RigError(f"cannot open the serial port {self.port}: {error}") from error

    def send(self, message: bytes) -> None:
        """Write the message's frame."""
        self.put(encode_frame(message))

    def pieces(self, message: bytes) -> list[bytes]:
        """Give what goes over the line for a message: one frame.

        Args:
            message: its bytes.
        """
        return [encode_frame(message)]

    def collector(self) -> FrameDecoder:
        """Make what turns pieces into messages again."""
        return FrameDecoder(self.max_size)

    def put(self, piece: bytes) -> None:
        """Write a frame as it is.

        Args:
            piece: its bytes, the closing zero among them.

        Raises:
            RigError: the link is broken.
        """
        if self._serial is None:
            raise RigError("the serial link is not open")
        import serial

        try:
            self._serial.write(piece)
        except serial.SerialTimeoutException:
            pass  # nobody reads at the other end and the buffer is full: an old message is worth nothing
        except OSError as error:  # SerialException is one
            raise RigError(f"cannot write to {self.port}: {error}") from error

    def receive(self, deadline_ns: int) -> list[bytes]:
        """Take the frames completed by the deadline, returning with the first."""
        if self._serial is None or self._decoder is None:
            raise RigError("the serial link is not open")
        try:
            while True:
                messages = self._decoder.feed(self._serial.read(4096))
                wait = remaining(deadline_ns)
                if messages or wait <= 0:
                    return messages
                self._serial.timeout = wait
                messages = self._decoder.feed(self._serial.read(1))
                self._serial.timeout = 0
                if messages:
                    return messages
        except OSError as error:
            raise RigError(f"cannot read from {self.port}: {error}") from error

    def close(self) -> None:
        """Close the port."""
        if self._serial is not None:
            self._serial.close()
            self._serial = None


class ZmqLink(AbstractLink):
    """ZeroMQ over TCP with CURVE: encrypted, and both ends know each other's key.

    Args:
        endpoint: e.g. "tcp://127.0.0.1:5555".
        own_secret: secret key of this end, 40 characters (Z85).
        peer_public: public key of the other end, 40 characters.
        listen: whether this end binds (the device) or connects (the host).
    """

    shared = False  # CURVE has proved both ends

    def __init__(self, endpoint: str, own_secret: str, peer_public: str, listen: bool) -> None:
        for name, key in (("own_secret", own_secret), ("peer_public", peer_public)):
            if len(key) != 40:
                raise ModelError(
                    name, f"has {len(key)} characters", remedy="give a CURVE key of 40, see zmq.curve_keypair"
                )
        self.endpoint, self.listen, self.peer = endpoint, listen, endpoint
        self._secret, self._peer = own_secret.encode(), peer_public.encode()
        self._context: Any = None
        self._socket: Any = None
        self._keeper: Any = None

    def open(self) -> None:
        """Bind or connect."""
        try:
            import zmq
            from zmq.auth.thread import ThreadAuthenticator
        except ImportError as error:
            raise NotInstalledError("ZeroMQ needs pyzmq: pip install 'yannctl[zmq]'") from error
        self._context = zmq.Context()
        socket_ = self._context.socket(zmq.DEALER)  # a pair would not take a host that comes again
        socket_.heartbeat_ivl, socket_.heartbeat_timeout = 500, 1500  # forget a host that vanished
        socket_.linger, socket_.sndhwm, socket_.rcvhwm, socket_.maxmsgsize = 0, 16, 64, MAX_DATAGRAM
        socket_.curve_secretkey, socket_.curve_publickey = self._secret, zmq.curve_public(self._secret)
        self._socket = socket_
        try:
            if self.listen:
                self._keeper = ThreadAuthenticator(self._context)
                self._keeper.start()
                self._keeper.configure_curve_callback(domain="*", credentials_provider=_OnlyPeer(self._peer))
                socket_.curve_server = True
                socket_.bind(self.endpoint)
            else:
                socket_.curve_serverkey = self._peer
                socket_.connect(self.endpoint)
        except zmq.ZMQError as error:
            self.close()
            raise RigError(f"cannot open {self.endpoint}: {error}") from error

    def send(self, message: bytes) -> None:
        """Queue a message; with a full queue it is dropped, as an old command is worth nothing."""
        import zmq

        if self._socket is None:
            raise RigError("the ZeroMQ link is not open")
        with suppress(zmq.Again):
            self._socket.send(message, zmq.DONTWAIT)

    def receive(self, deadline_ns: int) -> list[bytes]:
        """Take the waiting messages."""
        import zmq

        if self._socket is None:
            raise RigError("the ZeroMQ link is not open")
        messages: list[bytes] = []
        if self._socket.poll(remaining(deadline_ns) * 1e3):
            while len(messages) < 64:
                try:
                    messages.append(self._socket.recv(zmq.DONTWAIT))
                except zmq.Again:
                    break
        return messages

    def close(self) -> None:
        """Close the socket and its thread."""
        if self._keeper is not None:
            self._keeper.stop()
            self._keeper = None
        if self._socket is not None:
            self._socket.close(0)
            self._context.term()
            self._socket = self._context = None


class _OnlyPeer:
    """Accepts one public key."""

    def __init__(self, public: bytes) -> None:
        self._public = public

    def callback(self, _domain: str, key: bytes) -> bool:
        """Whether the client with this key (Z85) may connect."""
        return key == self._public
