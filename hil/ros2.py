"""A mobile base over ROS 2 topics, without ROS: DDS with the types and topic names that a ROS 2 node uses.

`rt/cmd_vel` carries geometry_msgs/Twist to the robot, `rt/odom` nav_msgs/Odometry from it. A Twist has no session, no
number and no proof of origin, so the robot's own time-out is what stops it, and anyone on the network can drive it:
keep the network closed, or use SROS2. Deadline and lifespan are finite, so an old command is never delivered.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from yannctl.errors import ModelError, NotInstalledError
from yannctl.types import Float

from .clock import MonotonicClock
from .linked import HANDSHAKE_SECONDS, Features
from .rig import AbstractRig, RigError, Sample, allowed_input

COMMAND_TOPIC, ODOMETRY_TOPIC = "rt/cmd_vel", "rt/odom"
STOP_REPEATS = 3


@dataclass(frozen=True)
class Ros2Access:
    """Which robot.

    Args:
        domain: DDS domain, ROS_DOMAIN_ID of the robot.
        interface: network interface, "lo" for this machine only.
        prefix: name space of the robot's topics, e.g. "burger/"; empty for none.
    """

    domain: int = 0
    interface: str = "lo"
    prefix: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.domain <= 232:
            raise ModelError("domain", f"is {self.domain}", remedy="give 0 to 232")
        if not self.interface.replace("-", "").replace("_", "").replace(".", "").isalnum():
            raise ModelError("interface", f"is {self.interface!r}", remedy="give the name of one network interface")

    def topic(self, name: str) -> str:
        """Give a topic's DDS name in the robot's name space.

        Args:
            name: of the topic, "rt/...".
        """
        return f"rt/{self.prefix}{name.removeprefix('rt/')}"


def path_state(odometry: Any) -> Float[np.ndarray, " nx"]:
    """Read the state of a robot that follows the x axis: (ey, epsi, v, omega, s) = (y, yaw, v, omega, x).

    Args:
        odometry: nav_msgs/Odometry.

    Returns:
        State of `DifferentialDrive` (5,) [m, rad, m/s, rad/s, m].
    """
    pose, twist = odometry.pose.pose, odometry.twist.twist
    q = pose.orientation
    yaw = math.atan2(2 * (q.w * q.z + q.x * q.y), 1 - 2 * (q.y**2 + q.z**2))
    return np.array([pose.position.y, yaw, twist.linear.x, twist.angular.z, pose.position.x])


class Ros2Rig(AbstractRig):
    """The host's end of a mobile base: inputs are speed and turn rate.

    Args:
        access: which robot.
        features: what the plant is; two inputs.
        hold_periods: lifespan of a command, in periods.
        to_state: odometry to state; default a robot that follows the x axis.
        patience: share of the period that a read waits for a fresh measurement.

    Raises:
        ModelError: a plant with other than two inputs.
        NotInstalledError: the package `cyclonedds` is missing.
    """

    def __init__(
        self,
        access: Ros2Access,
        features: Features,
        hold_periods: int = 2,
        to_state: Callable[[Any], Float[np.ndarray, " nx"]] = path_state,
        patience: float = 0.4,
    ) -> None:
        dds()
        for name, value in vars(features).items():
            setattr(self, name, value)
        if len(self.u_names) != 2 or hold_periods < 1:
            raise ModelError(
                "features", f"has {len(self.u_names)} inputs", remedy="a Twist carries speed and turn rate"
            )
        self.access, self.clock, self.stop_reason = access, MonotonicClock(), ""
        self._to_state, self._hold, self._wait_ns = to_state, hold_periods, round(patience * self.dt * 1e9)
        self._sample: Sample | None = None
        self._writer: Any = None
        self._reader: Any = None
        self._domain: Any = None
        self._armed = False
        self.tap: Callable[[Any, Any], tuple[Any, Any]] | None = (
            None  # for faults on purpose: (writer, reader) to others
        )

    def open(self) -> None:
        """Join the domain.

        Raises:
            RigError: it cannot be joined.
        """
        from .ros2_messages import Odometry, Twist

        try:
            self._domain, participant = join(self.access)
            self._writer = writer(participant, self.access.topic(COMMAND_TOPIC), Twist, self.dt, self._hold)
            self._reader = reader(participant, self.access.topic(ODOMETRY_TOPIC), Odometry)
        except Exception as error:  # DDSException has no public base of its own
            raise RigError(
                f"cannot join DDS domain {self.access.domain} on {self.access.interface}: {error}"
            ) from error
        if self.tap is not None:
            self._writer, self._reader = self.tap(self._writer, self._reader)

    def arm(self) -> None:
        """Wait until a robot listens and measures.

        Raises:
            RigError: none does, or the rig is not open or was stopped.
        """
        if self._writer is None or self.stop_reason:
            raise RigError(f"cannot arm: {self.stop_reason or 'the rig is not open'}")
        end = time.monotonic() + 5 * HANDSHAKE_SECONDS
        while self._sample is None or not self._writer.get_matched_subscriptions():
            if time.monotonic() > end:
                missing = "sends odometry" if self._sample is None else "listens to cmd_vel"
                raise RigError(f"nobody in DDS domain {self.access.domain} {missing}")
            self._poll()
            time.sleep(0.01)
        self._armed = True

    def read(self, deadline_ns: int) -> Sample:
        """Take the newest odometry, waiting a part of the period for a fresh one.

        Args:
            deadline_ns: return by then [ns].

        Returns:
            The measurement, or the one before.

        Raises:
            RigError: the rig is not armed.
        """
        before = -1 if self._sample is None else self._sample.sequence
        until = min(deadline_ns, self.clock.now_ns() + self._wait_ns)
        while True:
            self._poll()
            if self._sample is None:
                raise RigError("cannot read: the rig is not armed")
            if self._sample.sequence > before or self.clock.now_ns() >= until:
                return self._sample
            time.sleep(0.0005)

    def write(self, u: Float[np.ndarray, " nu"], deadline_ns: int) -> Float[np.ndarray, " nu"]:
        """Publish a Twist, inside the box and the plant's input rows: what it says is what the wheels can do.

        Args:
            u: speed and turn rate (2,) [m/s, rad/s].
            deadline_ns: unused, a message is sent at once.

        Returns:
            The input sent.

        Raises:
            RigError: the rig is not armed, or nobody listens any more.
        """
        if not self._armed:
            raise RigError(f"cannot write: {self.stop_reason or 'the rig is not armed'}")
        if not self._writer.get_matched_subscriptions():
            raise RigError("nobody listens to cmd_vel any more")
        sent = allowed_input(u, self.u_min, self.u_max, self.safe_action, self.input_rows)
        self._publish(sent)
        return sent

    def stop(self, reason: str) -> None:
        """Publish the safe action until the robot's reader has acknowledged it.

        Args:
            reason: why.

        Raises:
            RigError: nobody acknowledges.
        """
        driven, self._armed = self._armed, False
        if self.stop_reason or self._writer is None:
            return
        for _ in range(STOP_REPEATS):
            self._publish(self.safe_action)
        heard = bool(self._writer.get_matched_subscriptions())
        if not driven and not heard:
            return  # there is no robot that could have moved
        if not heard or not self._writer.wait_for_acks(round(HANDSHAKE_SECONDS * 1e9)):
            raise RigError("no robot acknowledges the stop; its own time-out must act")
        self.stop_reason = reason

    def close(self) -> None:
        """Leave the domain."""
        self._armed = False
        self._writer = self._reader = self._domain = None

    def _publish(self, u: Float[np.ndarray, " nu"]) -> None:
        from .ros2_messages import Twist, Vector3

        self._writer.write(Twist(Vector3(x=float(u[0])), Vector3(z=float(u[1]))))

    def _poll(self) -> None:
        """Keep the newest whole odometry."""
        for odometry in self._reader.take(N=64):
            header = getattr(odometry, "header", None)  # a sample that only tells that a writer left has none
            if header is None:
                continue
            stamp = header.stamp.sec * 10**9 + header.stamp.nanosec
            if self._sample is None or stamp > self._sample.sequence:
                self._sample = Sample(self._to_state(odometry), self.clock.now_ns(), stamp)


def join(access: Ros2Access) -> tuple[Any, Any]:
    """Join a DDS domain on one interface.

    Args:
        access: which.

    Returns:
        The domain, to be kept while it is used, and the participant.
    """
    dds()
    from cyclonedds.domain import Domain, DomainParticipant

    multicast = "false" if access.interface == "lo" else "spdp"
    peers = '<Peers><Peer address="127.0.0.1"/></Peers>' if access.interface == "lo" else ""
    settings = (
        f'<CycloneDDS><Domain Id="any"><General><Interfaces><NetworkInterface name="{access.interface}"/></Interfaces>'
        f"<AllowMulticast>{multicast}</AllowMulticast></General>"
        f"<Discovery><ParticipantIndex>auto</ParticipantIndex><MaxAutoParticipantIndex>60</MaxAutoParticipantIndex>"
        f"{peers}</Discovery></Domain></CycloneDDS>"
    )
    domain = Domain(access.domain, settings)
    return domain, DomainParticipant(access.domain)


def writer(participant: Any, topic: str, kind: Any, dt: float, hold: int) -> Any:
    """Make a reliable writer of the newest value, with finite deadline and lifespan.

    Args:
        participant: of the domain.
        topic: DDS name.
        kind: message type.
        dt: period [s].
        hold: periods a value lives.

    Returns:
        The writer.
    """
    from cyclonedds.core import Policy, Qos
    from cyclonedds.pub import DataWriter
    from cyclonedds.topic import Topic
    from cyclonedds.util import duration

    qos = Qos(
        Policy.Reliability.Reliable(duration(milliseconds=100)),
        Policy.History.KeepLast(1),
        Policy.Deadline(duration(seconds=2 * dt)),
        Policy.Lifespan(duration(seconds=hold * dt)),
    )
    return DataWriter(participant, Topic(participant, topic, kind), qos=qos)


def reader(participant: Any, topic: str, kind: Any) -> Any:
    """Make a reader of the newest value, reliable or not, as ROS 2 publishers differ.

    Args:
        participant: of the domain.
        topic: DDS name.
        kind: message type.

    Returns:
        The reader.
    """
    from cyclonedds.core import Policy, Qos
    from cyclonedds.sub import DataReader
    from cyclonedds.topic import Topic

    qos = Qos(Policy.Reliability.BestEffort, Policy.History.KeepLast(8))
    return DataReader(participant, Topic(participant, topic, kind), qos=qos)


def dds() -> Any:
    """Import cyclonedds.

    Returns:
        The module.

    Raises:
        NotInstalledError: it is missing.
    """
    try:
        import cyclonedds
    except ImportError as error:
        raise NotInstalledError("ROS 2 topics need cyclonedds: pip install 'yannctl[ros2]'") from error
    return cyclonedds
