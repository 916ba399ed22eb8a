"""A mobile base in simulation on ROS 2 topics: drives by rt/cmd_vel, tells rt/odom, stops when commands cease."""

import math
import time
from collections import Counter
from typing import Any

import numpy as np

from yannctl.plant import AbstractPlant
from yannctl.types import ArrayLike, Float

from .messages import DeviceState
from .plant_device import DeviceTick, OnTick
from .ros2 import COMMAND_TOPIC, ODOMETRY_TOPIC, Ros2Access, join, reader, writer


class _Guard:
    """Counts, as a device's guard has them."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.cause = ""


class SoftRobot:
    """A `DifferentialDrive` on the x axis, with the time-out that real bases have.

    Args:
        plant: the plant; states (ey, epsi, v, omega, s), inputs (vc, wc).
        x0: first state (5,).
        access: which domain and topics.
        timeout: age of the newest command at which it holds the safe action [s].
        safe_action: input it holds then (2,).
        dt: period [s]; default the plant's.
        on_tick: called after every period.
    """

    def __init__(
        self,
        plant: AbstractPlant,
        x0: ArrayLike,
        access: Ros2Access,
        timeout: float,
        safe_action: ArrayLike,
        dt: float | None = None,
        on_tick: OnTick | None = None,
    ) -> None:
        self.plant, self.access, self.guard, self._on_tick = plant, access, _Guard(), on_tick
        self.x: Float[np.ndarray, " nx"] = np.array(x0, float)
        self._safe = np.array(safe_action, float)
        self._timeout, self._period = timeout, float(plant.dt if dt is None else dt)
        self._u, self._heard = self._safe, -math.inf
        self._rows = plant.input_rows or (np.zeros((0, plant.nu)), np.zeros(0))
        plant.step(self.x, self._safe)

    def run(self, seconds: float | None = None, ready: Any = None) -> None:
        """Drive.

        Args:
            seconds: for how long; None for ever.
            ready: called when a host may connect, or None.
        """
        from .ros2_messages import Odometry, Twist

        domain, participant = join(self.access)
        commands = reader(participant, self.access.topic(COMMAND_TOPIC), Twist)
        odometry = writer(participant, self.access.topic(ODOMETRY_TOPIC), Odometry, self._period, 2)
        if ready is not None:
            ready()
        start = deadline = time.monotonic()
        while seconds is None or deadline < start + seconds:
            deadline += self._period
            time.sleep(max(0.0, deadline - time.monotonic()))
            self._listen(commands)
            self._drive()
            odometry.write(self._odometry())
            deadline += max(0, int((time.monotonic() - deadline) / self._period)) * self._period
        del domain

    def _listen(self, commands: Any) -> None:
        for twist in commands.take(N=64):
            if getattr(twist, "linear", None) is None:
                continue
            u = np.array([twist.linear.x, twist.angular.z])
            low, high = np.asarray(self.plant.u_min), np.asarray(self.plant.u_max)
            G, h = self._rows
            if not np.all(np.isfinite(u)) or np.any(u < low) or np.any(u > high) or np.any(G @ u > h):
                self.guard.counts["out_of_range"] += 1
                continue
            self.guard.counts["commands"] += 1
            self._u, self._heard = u, time.monotonic()

    def _drive(self) -> None:
        late = time.monotonic() - self._heard >= self._timeout
        u = self._safe if late else self._u
        state = DeviceState.SAFE if late else DeviceState.ARMED
        if math.isinf(self._heard):
            state = DeviceState.DISARMED  # it stands still at x0 until the first command
        else:
            self.guard.cause = f"no command for {self._timeout:g} s" if late else ""
            self.x = np.asarray(self.plant.step(self.x, u), float)
        if self._on_tick is not None:
            self._on_tick(DeviceTick(time.monotonic_ns(), self.x, u, int(state), self.guard.counts["commands"]))

    def _odometry(self) -> Any:
        from .ros2_messages import (
            Header,
            Odometry,
            Point,
            Pose,
            PoseWithCovariance,
            Quaternion,
            Time,
            Twist,
            TwistWithCovariance,
            Vector3,
        )

        ey, epsi, v, omega, s = (float(value) for value in self.x)
        now = time.time_ns()
        stamp = Header(Time(now // 10**9, now % 10**9), "odom")
        pose = Pose(Point(s, ey), Quaternion(z=math.sin(epsi / 2), w=math.cos(epsi / 2)))
        twist = Twist(Vector3(v), Vector3(z=omega))
        return Odometry(stamp, "base_footprint", PoseWithCovariance(pose), TwistWithCovariance(twist))
