"""A robot in another process on ROS 2 topics: the law drives it along the x axis, and it stops when commands cease."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

import yannctl
from yannctl.errors import ModelError
from yannctl.hil import RigError
from yannctl.hil.assembly import make_rig
from yannctl.hil.configuration import read_configuration
from yannctl.hil.linked import Features
from yannctl.hil.messages import DeviceState
from yannctl.hil.rig import allowed_input
from yannctl.hil.ros2 import Ros2Access, Ros2Rig, path_state
from yannctl.hil.ros2_messages import Odometry, Point, Pose, PoseWithCovariance, Quaternion, Twist, Vector3
from yannctl.models import DifferentialDrive, Pendulum

HOLD, SAFE = 40, int(DeviceState.SAFE)  # two seconds: a busy machine must not fail a test
TAKE_OVER = """
import sys
from yannctl.hil.assembly import make_rig
from yannctl.hil.configuration import read_configuration
from yannctl.hil.supervisor import take_over
sys.exit(not take_over(make_rig(read_configuration(sys.argv[1]))))
"""


@pytest.fixture(scope="module")
def robot(tmp_path_factory, running_device):
    """(configuration file, robot log) with the robot running."""
    folder = tmp_path_factory.mktemp("robot")
    plant = DifferentialDrive(bend=0.0)
    lin = yannctl.linearise(plant, x=[0, 0, 0.15, 0, 0], u=[0.15, 0])
    Q, bounds = np.diag([400.0, 2, 20, 1e-3, 1e-2]), {"u_min": plant.u_min, "u_max": plant.u_max}
    ocp = yannctl.Ocp(lin, Q=Q, R=np.diag([1e-3, 0.05]), N=4, terminal=None, **bounds)
    theta = {"theta_min": [-0.1, -1.2, -0.22, -2.75, -0.1], "theta_max": [0.1, 1.2, 0.22, 2.75, 0.1]}
    yannctl.solve_mpqp(yannctl.condense(ocp, **theta)).save(folder / "law.safetensors")
    domain = 100 + os.getpid() % 100
    (folder / "robot.toml").write_text(
        '[plant]\nname = "DifferentialDrive"\nparameters = { bend = 0.0 }\nsafe_action = [0.0, 0.0]\n'
        "x0 = [0.05, 0.2, 0.0, 0.0, 0.0]\ndt = 0.05\n"
        f'[controller]\nfile = "law.safetensors"\nhold_periods = {HOLD}\n'
        "[loop]\nseconds = 4\nmax_age = 1000\n[supervisor]\nenabled = false\n"
        f'[link]\nkind = "ros2"\ndomain = {domain}\n'
    )
    config, log = folder / "robot.toml", folder / "robot.csv"
    with running_device(config, log):
        yield config, log


def test_the_law_drives_the_robot_onto_the_path(robot, rows, host_command):
    config, log = robot
    done = subprocess.run(host_command(config), check=False, capture_output=True, text=True, timeout=120)
    summary = json.loads(done.stdout.splitlines()[-1])
    assert (summary["reason"], summary["stop_errors"]) == ("ticks done", []), done.stderr
    table = rows(log)
    assert table[-1, 2] > 20
    driving = table[table[:, 1] != SAFE]
    assert np.abs(driving[:, 3]).min() < 0.02  # ey, from 0.05
    assert driving[-3, 7] > 0.2  # s: it went along the path


@pytest.mark.parametrize("how", [signal.SIGKILL, pytest.param(signal.SIGSTOP, marks=pytest.mark.slow)])
def test_a_host_that_is_killed_or_stopped_leaves_a_robot_at_rest(robot, unsafe_ticks, how):
    assert unsafe_ticks(*robot, how, 10, [0.0, 0.0], hold=HOLD, period=0.05) == 0


def test_another_process_takes_over(robot, rows, wait_for):
    config, log = robot
    rig = make_rig(read_configuration(config))
    rig.open()
    rig.arm()
    rig.read(rig.clock.now_ns() + 10**9)
    rig.write(rig.u_max * 0.5 + rig.u_min * 0.5, 0)
    wait_for(lambda: rows(log)[-1, 1] == DeviceState.ARMED)
    # While the first one only holds its breath; in its own process, since a process joins a domain once.
    assert subprocess.run([sys.executable, "-c", TAKE_OVER, str(config)], check=False, timeout=60).returncode == 0
    wait_for(lambda: rows(log)[-1, 1] == SAFE)
    rig.close()


def test_a_domain_without_a_robot_is_not_armed(robot, monkeypatch):
    configuration = read_configuration(robot[0])
    rig = make_rig(configuration)
    rig.access = Ros2Access(domain=99)
    monkeypatch.setattr("yannctl.hil.ros2.HANDSHAKE_SECONDS", 0.1)
    with pytest.raises(RigError, match="nobody in DDS domain"), rig:
        rig.arm()


def test_a_command_beyond_the_wheels_is_drawn_in_along_its_curve():
    plant = DifferentialDrive(bend=0.0)
    rig = Ros2Rig(Ros2Access(), Features.of(plant, [0.0, 0.0]))
    G, h = plant.input_rows
    for u in ([0.22, 2.75], [0.1, -2.5], [0.22, 1e-3]):
        sent = allowed_input(np.array(u), rig.u_min, rig.u_max, rig.safe_action, rig.input_rows)
        assert np.all(G @ sent <= h)
        assert np.max(G @ sent - h) > -1e-12  # the nearest on the line, not less
        assert sent[1] / sent[0] == pytest.approx(u[1] / u[0])  # the same curvature
    inside = np.array([0.1, 1.0])
    np.testing.assert_array_equal(allowed_input(inside, rig.u_min, rig.u_max, rig.safe_action, rig.input_rows), inside)


def test_the_yaw_of_a_quaternion_and_the_speeds_become_the_state():
    yaw = -2.5
    pose = Pose(Point(3.0, 0.25), Quaternion(z=np.sin(yaw / 2), w=np.cos(yaw / 2)))
    odometry = Odometry(pose=PoseWithCovariance(pose))
    odometry.twist.twist = Twist(Vector3(0.2), Vector3(z=-0.5))
    np.testing.assert_allclose(path_state(odometry), [0.25, yaw, 0.2, -0.5, 3.0], rtol=1e-15)


def test_the_wire_format_is_the_one_of_ros():
    twist = Twist(Vector3(0.25, 0, 0), Vector3(0, 0, -1.5)).serialize()
    assert twist[4:] == np.array([0.25, 0, 0, 0, 0, -1.5]).tobytes()  # behind the four bytes of the CDR header


def test_what_does_not_fit_is_refused():
    with pytest.raises(ModelError, match="speed and turn rate"):
        Ros2Rig(Ros2Access(), Features.of(Pendulum(), [0.0]))
    with pytest.raises(ModelError, match="0 to 232"):
        Ros2Access(domain=300)
    with pytest.raises(ModelError, match="interface"):
        Ros2Access(interface='lo"/><x')
