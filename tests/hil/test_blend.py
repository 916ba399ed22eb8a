"""Authority from shadow to full, changed while running by the operator, recorded, and replayed bit for bit."""

import json
import socket

import numpy as np
import pytest

import yannctl
from yannctl.cli.app import main
from yannctl.controllers import ExplicitMpc
from yannctl.controllers.base import AbstractController
from yannctl.errors import ModelError
from yannctl.export.policy_file import save_policy
from yannctl.hil import FixedRateLoop, RigError, SimulatedRig
from yannctl.hil.blend import Blended, exploration
from yannctl.hil.flight_log import FlightLog, LogHeader, read_log
from yannctl.hil.network_policy import NetworkPolicy, PolicyShape, shape_of, weights_number
from yannctl.hil.operator_port import OperatorPort, send_command
from yannctl.hil.replay import replay_blend
from yannctl.hil.tick import AbstractAttendant
from yannctl.models import Pendulum

PLANT = Pendulum()
SHAPE = PolicyShape(
    (3, 8, 8, 1), (0,), (1,), np.array([0.0]), np.array([8.0]), np.asarray(PLANT.u_min), np.asarray(PLANT.u_max),
    np.array([1.0]),
)  # fmt: skip


@pytest.fixture(scope="module")
def law(law_file):
    return ExplicitMpc(yannctl.PwaLaw.load(law_file))


def policy(law, seed=1):
    return NetworkPolicy(law, SHAPE, np.random.default_rng(seed).standard_normal(SHAPE.n_weights) * 0.3)


def blend(law, authority=0.0, sigma=0.0, **more):
    noise = exploration(5, sigma, PLANT.u_min, PLANT.u_max, 64)
    return Blended(law, policy(law), PLANT.u_min, PLANT.u_max, authority, noise=noise, **more)


STATES = np.random.default_rng(0).uniform([-0.3, -1], [0.3, 1], (50, 2))


def test_shadow_is_the_law_and_full_authority_the_proposal_bit_for_bit(law):
    shadow, full, proposer = blend(law), blend(law, 1.0), policy(law)
    for x in STATES:
        np.testing.assert_array_equal(shadow(x), law(x))
        np.testing.assert_array_equal(shadow.proposed, proposer(x))
        np.testing.assert_array_equal(full(x), proposer(x))
    half = blend(law, 0.5)
    np.testing.assert_allclose(half(STATES[0]), (law(STATES[0]) + proposer(STATES[0])) / 2, rtol=1e-14)


def test_the_filter_has_the_last_word_at_every_authority(law):
    for authority in (0.0, 0.5, 1.0):
        filtered = blend(law, authority, filter=lambda _x, _u: np.array([0.125]))
        np.testing.assert_array_equal(filtered(STATES[0]), [0.125])


def test_exploration_belongs_to_the_period_and_stays_inside_the_limits(law):
    noisy, loud = blend(law, 1.0, sigma=0.01), blend(law, 1.0, sigma=30.0)
    found = []
    for index in (0, 1, 64, 0):
        noisy.period_index = index
        found.append(float(noisy(STATES[0])[0]))
    assert found[0] == found[2] == found[3] != found[1]
    assert np.all(np.abs([loud(x) for x in STATES]) <= 2.0)
    assert exploration(0, 0.0, [-1.0], [1.0]) is None


def raising(_x):
    raise ValueError("planted")


@pytest.mark.parametrize("broken", [lambda _x: np.array([np.nan]), raising, lambda _x: np.zeros(3)])
def test_a_broken_proposal_leaves_the_law(law, broken):
    class Broken(AbstractController):
        nx, nu = 2, 1

        def __call__(self, x, reference=None):
            return broken(x)

        def reset(self):
            pass

    it = Blended(law, Broken(), PLANT.u_min, PLANT.u_max, 1.0)
    np.testing.assert_array_equal(it(STATES[0]), law(STATES[0]))
    assert it.failures == 1


def test_what_does_not_fit_is_refused(law):
    with pytest.raises(ModelError, match="0 \\(shadow\\) to 1"):
        blend(law, 1.5)
    with pytest.raises(ModelError, match="half the input range"):
        exploration(0, -1.0, [-1.0], [1.0])
    with pytest.raises(ModelError, match="finite ones"):
        policy(law).load(np.full(SHAPE.n_weights, np.nan))


def test_the_numpy_policy_answers_as_the_torch_module(law, law_file):
    import torch

    from yannctl.rl.deployment import flat_weights, shape_record

    module = learned(law.law)
    ours = NetworkPolicy(law, shape_of(json.loads(json.dumps(shape_record(module)))), flat_weights(module))
    wanted = module(torch.from_numpy(STATES)).detach().numpy()
    assert np.abs(wanted - law(STATES)).max() > 1e-3
    np.testing.assert_allclose(ours(STATES), wanted, rtol=0, atol=1e-13)


class Script(AbstractAttendant):
    """Sends the operator's commands at given ticks."""

    def __init__(self, port, commands):
        self.port, self.commands, self.ticks = port, commands, 0

    def boundary(self):
        for command in self.commands.get(self.ticks, []):
            send_command(self.port, **command)
        self.ticks += 1
        return ""

    def ticked(self, tick):
        pass

    def ended(self):
        pass


def test_authority_changes_at_tick_boundaries_is_recorded_and_replays(law, tmp_path):
    mixed = blend(law, sigma=0.2, law_id=7)
    rig, path, port = SimulatedRig(PLANT, [0.1, 0.0]), tmp_path / "run.mcap", tmp_path / "p"
    commands = {10: [{"authority": 0.3}], 20: [{"authority": 0.9}, {"authority": 1.0}], 30: [{"authority": 0.0}]}
    operator = OperatorPort(port, mixed)
    header = LogHeader(rig.x_names, rig.u_names, rig.x_units, rig.u_units, rig.dt, "", 0.2, 5)
    with FlightLog(path, header) as log:
        report = FixedRateLoop(rig, mixed, attendants=(Script(port, commands), operator, log)).run(40)
    operator.close()
    assert report.reason == "ticks done"
    record = read_log(path)
    np.testing.assert_array_equal(record.authority, np.repeat([0.0, 0.3, 1.0, 0.0], 10))
    assert set(record.scalars["law_id"]) == {7}
    np.testing.assert_array_equal(record.u[20:30], record.proposed[20:30])
    found = replay_blend(record, blend(law, sigma=0.2, law_id=7), {})
    assert (found.n_compared, found.n_different) == (40, 0)
    assert replay_blend(record, blend(law, sigma=0.1, law_id=7), {}).n_different > 10  # other noise, other bits
    with pytest.raises(ModelError, match="lack the weights"):
        replay_blend(record, mixed, {8: mixed.proposer.weights})


def test_the_operators_stop_ends_the_loop_and_nonsense_does_not(law, tmp_path):
    port, mixed = tmp_path / "p", blend(law)
    operator = OperatorPort(port, mixed)

    for data in (
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'{"authority": 2}',
        b'{"authority": "x"}',
        b'{"stop": 1, "authority": 0}',
    ):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.sendto(data, str(port))
    assert operator.boundary() == ""
    assert (operator.refused, mixed.authority) == (7, 0.0)
    report = FixedRateLoop(
        SimulatedRig(PLANT, [0.1, 0.0]), mixed, attendants=(Script(port, {5: [{"stop": "by hand"}]}), operator)
    ).run(40)
    assert report.ticks == 5
    assert report.reason == "stop requested: by hand"
    assert (port.stat().st_mode & 0o777) == 0o600
    operator.close()
    with pytest.raises(RigError, match="no loop runs"):
        send_command(port, authority=0.5)
    with pytest.raises(ModelError, match="one of"):
        send_command(port)


def test_weights_have_a_number_of_their_own(law):
    first, second = policy(law, 1).weights, policy(law, 2).weights
    assert weights_number(first) == weights_number(first.copy()) != weights_number(second)


def learned(law, seed=3):
    """A torch policy on a law, with something learned."""
    import torch

    from yannctl.yann import encode_actor, extend

    module = extend(encode_actor(law, form="gather"), PLANT, (16, 16), seed=seed, authority=0.5)
    with torch.no_grad():
        for part in module.learned.parameters():
            part.add_(0.1 * torch.randn(part.shape, generator=torch.Generator().manual_seed(1), dtype=part.dtype))
    return module


def command(capsys, *words):
    with pytest.raises(SystemExit) as ending:
        main([*map(str, words), "--json"])
    out = capsys.readouterr()
    return ending.value.code, json.loads(out.out.splitlines()[-1]) if out.out else out.err


def test_a_policy_file_proposes_in_a_run_and_the_run_replays(tmp_path, law, law_file, capsys):
    save_policy(tmp_path / "policy.safetensors", learned(law.law), plant=PLANT)
    config = tmp_path / "run.toml"
    config.write_text(
        f'[plant]\nname = "Pendulum"\nsafe_action = [0.0]\nx0 = [0.1, 0.0]\n[controller]\nfile = "{law_file}"\n'
        '[link]\nkind = "simulated"\n[loop]\nseconds = 2\n[record]\nfile = "run.mcap"\n'
        '[proposal]\nfile = "policy.safetensors"\nauthority = 0.4\nexploration = 0.1\nseed = 4\n'
    )
    assert command(capsys, "hil", "run", config)[0] == 0
    record = read_log(tmp_path / "run.mcap")
    assert np.all(record.authority == 0.4)
    assert np.abs(record.proposed - record.u).max() > 1e-3
    replay = ["hil", "replay", tmp_path / "run.mcap", "--law", law_file]
    code, found = command(capsys, *replay, "--config", config)
    assert (code, found["compared"], found["different"]) == (0, 40, 0)
    assert command(capsys, *replay)[1]["different"] > 30  # the law alone is not what drove
    config.write_text(config.read_text().replace("seed = 4", "seed = 5"))
    assert command(capsys, *replay, "--config", config)[0] == 1
    bounds = {"x_min": PLANT.x_min, "x_max": PLANT.x_max, "u_min": PLANT.u_min, "u_max": PLANT.u_max}
    ocp = yannctl.Ocp(yannctl.linearise(PLANT), Q=np.diag([1, 0.1]), R=[[3.0]], N=3, soft="l1l2", **bounds)
    save_policy(tmp_path / "policy.safetensors", learned(yannctl.solve_mpqp(yannctl.condense(ocp))), plant=PLANT)
    code, error = command(capsys, "hil", "run", config)
    assert code == 2
    assert "stands on another law" in error
