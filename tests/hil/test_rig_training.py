"""Learning on the rig: weights enter only by gate, parity and at a tick boundary; the loop never waits."""

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

import yannctl
from yannctl.controllers import ExplicitMpc
from yannctl.errors import FileFormatError, ModelError
from yannctl.hil import FixedRateLoop, SimulatedRig
from yannctl.hil.blend import Blended, exploration
from yannctl.hil.chaos_links import free_port
from yannctl.hil.configuration import read_configuration
from yannctl.hil.courier import DEPLOYED_FILE, HEAD, LOG_FILE, POLICIES, Courier, keep_policy, read_deployed
from yannctl.hil.flight_log import FlightLog, LogHeader, read_log
from yannctl.hil.network_policy import NetworkPolicy, PolicyShape, shape_of, weights_number
from yannctl.hil.replay import read_policies, replay_blend
from yannctl.hil.report import Source
from yannctl.hil.rig_training import SUMMARY_FILE, LearnerLink, train_on_rig
from yannctl.hil.ring import RowRing
from yannctl.hil.run_assembly import SHAPE_FILE, read_proposal
from yannctl.hil.tick import AbstractAttendant
from yannctl.hil.weight_exchange import WeightExchange
from yannctl.models import Pendulum
from yannctl.rl.actor_process import Plan
from yannctl.rl.deployment import flat_weights, publish_deployed
from yannctl.rl.settings import TrainingSettings
from yannctl.rl.transitions import FIRST, read_records

PLANT = Pendulum()
LIMITS = np.asarray(PLANT.u_min), np.asarray(PLANT.u_max)
SHAPE = PolicyShape((3, 8, 1), (0,), (1,), np.array([0.0]), np.array([8.0]), *LIMITS, np.array([2.0]))


@pytest.fixture(scope="module")
def law(law_file):
    return ExplicitMpc(yannctl.PwaLaw.load(law_file))


def weights(seed):
    return np.random.default_rng(seed).standard_normal(SHAPE.n_weights) * 0.5


@pytest.fixture
def exchange():
    made = WeightExchange(SHAPE.n_weights)
    yield made
    made.close()


@pytest.fixture
def courier(law, tmp_path, exchange):
    made = Courier(PLANT, NetworkPolicy(law, SHAPE), tmp_path, exchange)
    yield made
    made.writer.close()


def deploy(folder, law, values, decision="promoted", bound="0.5", change=0.0, shape=SHAPE):
    probes = PLANT.sample_starts(16, 0)
    answers = NetworkPolicy(law, shape, np.nan_to_num(values))(probes) + change
    facts = {"decision": decision, "step": "40", "lower_bound": bound}
    save_file(
        {"weights": values, "probes": np.ascontiguousarray(probes), "answers": answers}, folder / DEPLOYED_FILE, facts
    )


def test_what_the_gate_promoted_enters_and_is_kept(courier, exchange, law, tmp_path):
    assert not courier.fetch()  # nothing is there yet
    deploy(tmp_path, law, weights(1))
    assert courier.fetch()
    assert not courier.fetch()  # the same file again
    found, number = exchange.take()
    np.testing.assert_array_equal(found, weights(1))
    assert number == weights_number(weights(1))
    assert exchange.take() is None
    np.testing.assert_array_equal(read_policies(tmp_path / POLICIES)[number], weights(1))
    (tmp_path / POLICIES / "00000001.safetensors").write_bytes(
        (tmp_path / POLICIES / f"{number:08x}.safetensors").read_bytes()
    )
    with pytest.raises(FileFormatError, match="other weights"):
        read_policies(tmp_path / POLICIES)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"decision": "kept"}, "the gate said 'kept'"),
        ({"bound": "-0.1"}, "lower bound"),
        ({"bound": "nan"}, "lower bound"),
        ({"change": 1e-6}, "arithmetic differs"),
        ({"change": np.nan}, "arithmetic differs"),
        ({"values": np.full(SHAPE.n_weights, np.nan)}, "not finite"),
        ({"values": np.zeros(3)}, "do not fit"),
        (None, "unreadable"),
    ],
)
def test_everything_else_is_refused_counted_and_noted(courier, exchange, law, tmp_path, change, why):
    if change is None:
        (tmp_path / DEPLOYED_FILE).write_bytes(b"nonsense")
    elif "values" in change and change["values"].size == 3:
        tensors = {"weights": change["values"], "probes": np.zeros((1, 2)), "answers": np.zeros((1, 1))}
        save_file(tensors, tmp_path / DEPLOYED_FILE, {"decision": "promoted", "lower_bound": "1"})
    else:
        deploy(tmp_path, law, **{"values": weights(1), **change})
    assert not courier.fetch()
    assert exchange.take() is None
    assert exchange.refused == 1
    assert why in json.loads((tmp_path / LOG_FILE).read_text())["refused"]


def test_ticks_that_follow_each_other_become_transitions(courier, tmp_path):
    rows = np.array([[k, k not in {4, 9}, 0.1 * k, -0.1, 0.6, 0.5] for k in (0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11)], float)
    courier.carry(rows[:3])
    courier.carry(rows[3:])
    courier.writer.sync()
    records = read_records(tmp_path / "transitions.bin")
    np.testing.assert_allclose(records["x"][:, 0], [0.0, 0.1, 0.2, 0.5, 1.0])
    np.testing.assert_allclose(records["x1"][:, 0], [0.1, 0.2, 0.3, 0.6, 1.1])
    assert set(records["proposed"][:, 0]) == {0.6}
    assert set(records["u"][:, 0]) == {0.5}
    assert np.flatnonzero(records["flags"] & FIRST).tolist() == [0, 3, 4]
    assert records["reward"][1] == pytest.approx(float(PLANT.rewards(np.array([0.1, -0.1]), np.array([0.5]))))


def test_a_reader_that_is_overtaken_keeps_what_it_has(exchange):
    exchange.offer(weights(1), 1)
    slot = exchange._slots[1]
    slot[0] += 1.0  # as if the writer were in the middle of it
    assert exchange.take() is None
    exchange.offer(weights(2), 2)
    assert exchange.take()[1] == 2


class Offering(LearnerLink):
    """Offers weights before given ticks, as the courier would at any moment."""

    offers: ClassVar[dict[int, int]] = {12: 1, 25: 2, 26: 3}
    ticks = 0

    def boundary(self):
        if self.ticks in self.offers:
            values = weights(self.offers[self.ticks])
            self.exchange.offer(values, weights_number(values))
        self.ticks += 1
        return super().boundary()


def blended(law, policy):
    noise = exploration(3, 0.1, *LIMITS, 32)
    return Blended(law, policy, *LIMITS, 0.7, weights_number(policy.weights), noise=noise)


def test_a_log_replays_bit_for_bit_across_swaps(law, tmp_path, exchange):
    policy, ring = NetworkPolicy(law, SHAPE, weights(0)), RowRing(HEAD + 4, 128)
    link = Offering(ring, exchange, mixed := blended(law, policy), policy)
    rig, path = SimulatedRig(PLANT, [0.1, 0.0]), tmp_path / "run.mcap"
    header = LogHeader(rig.x_names, rig.u_names, rig.x_units, rig.u_units, rig.dt)
    with FlightLog(path, header) as log:
        FixedRateLoop(rig, mixed, attendants=(link, log)).run(40)
    record = read_log(path)
    numbers = [weights_number(weights(seed)) for seed in range(4)]
    np.testing.assert_array_equal(record.scalars["law_id"], np.repeat(numbers, [12, 13, 1, 14]))  # at the boundary
    assert link.swaps == 3
    assert len(ring.take()) == 40
    for seed in range(4):
        keep_policy(tmp_path, weights(seed))
    known = read_policies(tmp_path / POLICIES)
    again = blended(law, NetworkPolicy(law, SHAPE, weights(0)))
    found = replay_blend(record, again, known)
    assert (found.n_compared, found.n_different) == (40, 0)
    wrong = {**known, numbers[1]: known[numbers[1]] * (1 + 1e-12)}
    assert replay_blend(record, blended(law, NetworkPolicy(law, SHAPE, weights(0))), wrong).n_different > 5
    with pytest.raises(ModelError, match="lack the weights"):
        replay_blend(record, again, {1: weights(1)})
    ring.close()


def test_a_plant_that_is_not_the_models_is_refused(tmp_path, law_file):
    config = tmp_path / "rig.toml"
    config.write_text(
        f'[plant]\nname = "Pendulum"\nsafe_action = [0.0]\ndt = 0.02\n[controller]\nfile = "{law_file}"\n'
        '[link]\nkind = "simulated"\n'
    )
    assert read_configuration(config).proposal is None
    with pytest.raises(ModelError, match="nominal"):
        train_on_rig(config, tmp_path / "run", steps=10)


@pytest.fixture(scope="module")
def timid_law(tmp_path_factory):
    """A law that leaves much to learn."""
    bounds = {"x_min": PLANT.x_min, "x_max": PLANT.x_max, "u_min": PLANT.u_min, "u_max": PLANT.u_max}
    ocp = yannctl.Ocp(yannctl.linearise(PLANT), Q=np.diag([1, 0.1]), R=[[3.0]], N=3, soft="l1l2", **bounds)
    path = tmp_path_factory.mktemp("timid") / "law.safetensors"
    yannctl.solve_mpqp(yannctl.condense(ocp)).save(path)
    return path


def swing_up(x):
    """Torques that swing a pendulum up by its energy and catch it there: what a learner may find."""
    angle, speed = x[:, :1], x[:, 1:]
    hold = np.clip(-12 * angle - 3 * speed, -2, 2)
    pump = 2 * np.tanh(0.5 * (15 - speed**2 / 2 - 15 * np.cos(angle)) * speed)
    return np.where((np.abs(angle) < 0.4) & (np.abs(speed) < 2), hold, pump)


def taught_run(folder, law):
    """A run whose learner has been taught to swing up: in moments, and far better than the law for certain."""
    law.law.save(folder / "law.safetensors")
    settings = TrainingSettings().changed({"width": 32, "gate_starts": 64, "screen_starts": 16})
    run = Plan("yannctl/Pendulum-v0", "dsact", 0, 100, settings.record(), None, 1.0, "none").make_run(folder)
    start, learned = flat_weights(run.learning), list(run.learning.learned.parameters())
    states = np.random.default_rng(0).uniform([-np.pi, -8], [np.pi, 8], (512, 2))
    x, u = torch.from_numpy(states), torch.from_numpy(swing_up(states))
    descent = torch.optim.Adam([part.requires_grad_(True) for part in learned], 1e-2)
    for _ in range(200):
        descent.zero_grad()
        ((run.learning(x) - u) ** 2).mean().backward()
        descent.step()
    weights = torch.cat([part.requires_grad_(False).reshape(-1) for part in learned])
    run.learner.actor.weights.value.data[: len(start)] = weights.float()
    return run


def test_what_the_gate_promotes_drives_from_the_next_tick_on_and_replays(timid_law, tmp_path):
    """Gate, courier, parity and filter are the real ones; lockstep takes the place of their processes."""
    law = ExplicitMpc(yannctl.PwaLaw.load(timid_law))
    run = taught_run(tmp_path, law)
    publish_deployed(run, tmp_path, None)
    tensors, facts = read_deployed(tmp_path / DEPLOYED_FILE)
    shape = shape_of(json.loads(facts["shape"]))
    exchange, ring = WeightExchange(shape.n_weights), RowRing(HEAD + 4, 128)
    courier = Courier(PLANT, NetworkPolicy(law, shape), tmp_path, exchange, weights_number(tensors["weights"]))
    events = []

    def driving():
        policy = NetworkPolicy(law, shape, tensors["weights"])
        number, noise = keep_policy(tmp_path, policy.weights), exploration(0, 0.2, *LIMITS)
        return Blended(law, policy, *LIMITS, 1.0, number, lambda _x, u: np.clip(u, -1.9, 1.9), noise), policy

    class Gate(AbstractAttendant):
        """Asks the gate between ticks 59 and 60."""

        ticks = 0

        def boundary(self):
            if self.ticks == 60:
                events.append(run.test())
                publish_deployed(run, tmp_path, events[0])
                assert courier.fetch()
            self.ticks += 1
            return ""

        def ticked(self, tick):
            pass

        def ended(self):
            pass

    (mixed, policy), path = driving(), tmp_path / "run.mcap"
    link, rig = LearnerLink(ring, exchange, mixed, policy), SimulatedRig(PLANT, [3.0, 0.0])
    header = LogHeader(rig.x_names, rig.u_names, rig.x_units, rig.u_units, rig.dt)
    with FlightLog(path, header) as log:
        FixedRateLoop(rig, mixed, attendants=(Gate(), link, log)).run(100)
    assert events[0].decision == "promoted"
    assert events[0].lower_bound > 100  # of a return of -934
    assert (link.swaps, exchange.refused) == (1, 0)
    record, known = read_log(path), read_policies(tmp_path / POLICIES)
    assert np.flatnonzero(np.diff(record.scalars["law_id"])).tolist() == [59]  # at the boundary
    assert np.abs(record.u).max() == 1.9  # the filter has the last word
    found = replay_blend(record, driving()[0], known)
    assert (found.n_compared, found.n_different) == (100, 0)
    before = {number: known[int(record.scalars["law_id"][0])] for number in known}
    assert replay_blend(record, driving()[0], before).n_different > 5
    courier.writer.close()
    exchange.close()
    ring.close()


@pytest.mark.slow
def test_a_loop_learns_on_a_device_in_another_process_and_goes_on_while_the_learner_stands_still(
    tmp_path, timid_law, running_device, command_line, rows, wait_for
):
    (tmp_path / "key").touch(mode=0o600)
    (tmp_path / "key").write_text("1" * 64)
    config, log, run = tmp_path / "rig.toml", tmp_path / "device.csv", tmp_path / "run"
    config.write_text(
        f'[plant]\nname = "Pendulum"\nsafe_action = [0.0]\nx0 = [0.2, 0.0]\n[controller]\nfile = "{timid_law}"\n'
        f'hold_periods = 100\n[link]\nkind = "udp"\nhost = "127.0.0.1:{free_port()}"\n'
        f'device = "127.0.0.1:{free_port()}"\nkey_file = "key"\n[proposal]\nauthority = 0.8\nexploration = 0.2\n'
        '[record]\nfile = "run.mcap"\n[supervisor]\nsilence_periods = 60\n[loop]\nmax_age = 1000\nlearner_nice = 0\n'
    )

    def noted(text):
        notes = run / LOG_FILE
        return notes.exists() and text in notes.read_text()

    small = ["width=16", "warmup_steps=60", "gate_every=50", "gate_starts=64", "gate_alpha=0.5", "tensorboard=false"]
    words = [word for setting in small for word in ("--set", setting)]
    with running_device(config, log):
        learner = subprocess.Popen(
            command_line("hil", "train", config, "--steps", 500, "--out", run, *words, "--json"),
            stdout=subprocess.PIPE,
            text=True,
        )
        wait_for(lambda: len(rows(log)) and rows(log)[-1, 2] > 120, 600.0)
        os.kill(learner.pid, signal.SIGSTOP)
        commands = rows(log)[-1, 2]
        wait_for(lambda: rows(log)[-1, 2] > commands + 40)  # the loop and its device do not notice
        shape, law = shape_of(json.loads((run / SHAPE_FILE).read_text())), ExplicitMpc(yannctl.PwaLaw.load(timid_law))
        values = np.random.default_rng(0).standard_normal(shape.n_weights) * 0.1
        deploy(run, law, values, shape=shape)  # as the gate would: it enters though the learner stands still
        wait_for(lambda: noted(f"{weights_number(values):08x}"))
        deploy(run, law, -values, change=1e-6, shape=shape)  # and this one does not
        wait_for(lambda: noted("arithmetic differs"))
        os.kill(learner.pid, signal.SIGCONT)
        found = json.loads(learner.communicate(timeout=1200)[0].splitlines()[-1])
    assert learner.returncode == 0
    assert found["loop"]["swaps"] == found["promotions"] + 1
    assert (found["loop"]["refused"], found["loop"]["lost_rows"]) == (1, 0)
    assert (
        len(read_records(run / "transitions.bin")) > 100
    )  # of ticks that follow each other; a busy machine skips some
    assert read_proposal(run / "policy.safetensors", law)[0].nx == 2
    learnt = ["--law", timid_law, "--config", config, "--policies", run / POLICIES, "--json"]
    words = command_line("hil", "replay", tmp_path / "run.mcap", *learnt)
    replayed = subprocess.run(words, check=True, capture_output=True, text=True)
    answer = json.loads(replayed.stdout.splitlines()[-1])
    assert answer["different"] == 0
    record = read_log(tmp_path / "run.mcap")
    assert answer["compared"] == np.count_nonzero(record.scalars["source"] == Source.CONTROLLER) > 50
    assert len(set(record.scalars["law_id"])) == found["promotions"] + 2


def driven(path):
    """Numbers of the weights in a log that is being written."""
    try:
        return read_log(path).scalars["law_id"]
    except (OSError, FileFormatError):
        return []


@pytest.mark.slow
def test_the_gate_promotes_on_a_rig_that_runs_on(tmp_path, timid_law, command_line, wait_for):
    """Every process in its place: the example's rig learns until the first promotion drives, then is interrupted."""
    example = Path(__file__).parents[2] / "examples" / "bridge" / "learning.toml"
    config, run, path = tmp_path / "learning.toml", tmp_path / "run", tmp_path / "run.mcap"
    config.write_text(example.read_text())
    (tmp_path / "law.safetensors").write_bytes(timid_law.read_bytes())
    small = ["width=32", "batch=64", "updates_per_step=2", "warmup_steps=1000", "gate_every=1000", "gate_starts=64"]
    words = [word for setting in (*small, "screen_starts=16") for word in ("--set", setting)]
    command = command_line("hil", "train", config, "--steps", 10**6, "--out", run, *words)
    learner = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    notes = run / LOG_FILE
    wait_for(lambda: (notes.exists() and "promoted" in notes.read_text()) or learner.poll() is not None, 1200.0)
    wait_for(lambda: len(set(driven(path))) > 1)  # the loop has taken the weights, and the log has them
    learner.send_signal(signal.SIGTERM)
    learner.communicate(timeout=600)  # its loop has ended with it
    events = [json.loads(line) for line in (run / "gate.jsonl").read_text().splitlines()]
    promoted = [event for event in events if event["decision"] == "promoted"]
    assert promoted
    assert all(event["lower_bound"] > 0 for event in promoted)
    assert json.loads((run / SUMMARY_FILE).read_text())["refused"] == 0
    words = ["--law", tmp_path / "law.safetensors", "--config", config, "--policies", run / POLICIES, "--json"]
    replayed = subprocess.run(command_line("hil", "replay", path, *words), check=True, capture_output=True, text=True)
    answer = json.loads(replayed.stdout.splitlines()[-1])
    assert answer["different"] == 0
    assert answer["compared"] == np.count_nonzero(read_log(path).scalars["source"] == Source.CONTROLLER) > 50
