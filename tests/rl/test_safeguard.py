"""Training behind the certified filter: nothing is sent that it did not pass, and hard limits hold."""

import dataclasses

import gymnasium
import numpy as np
import pytest
import torch

from yannctl import rl
from yannctl.assurance import SafetyFilter, certified
from yannctl.assurance.analytic_certificate import robot_stopping_certificate
from yannctl.assurance.coverage import cover
from yannctl.errors import ModelError
from yannctl.models import CSTR, DifferentialDrive, Pendulum, RunawayReactor
from yannctl.rl.safeguard import safeguard_of
from yannctl.rl.task import task_of
from yannctl.rl.transitions import read_records

UPRIGHT = "yannctl/Pendulum-v0", {"task": "upright"}
TINY = rl.TrainingSettings(
    width=8, batch=8, updates_per_step=1, warmup_steps=50, gate_every=100, gate_starts=4, screen_starts=2,
    tensorboard=False,
).changed({"ddpg.std": 3.0})  # fmt: skip


class Push(torch.nn.Module):
    """Full torque, always."""

    def forward(self, x):
        return torch.full((len(x), 1), 2.0, dtype=torch.float64)


class Upright(torch.nn.Module):
    """The linear-quadratic law of the upright pendulum."""

    def forward(self, x):
        return -(x @ torch.tensor([[19.67], [5.73]], dtype=torch.float64)).clamp(-2.0, 2.0)


def wide_run(name, fields, assurance, steps, folder=None, resume=None, algorithm="ddpg"):
    """A run that explores with noise of three half ranges: nearly bang-bang."""
    env = gymnasium.make(name, **fields)
    return rl.train(
        None, None, env, algorithm, steps=steps, seed=1, settings=TINY, run_dir=folder, resume=resume,
        assurance=assurance,
    )  # fmt: skip


def test_wide_exploration_never_leaves_the_limits_behind_the_filter_and_often_without(tmp_path):
    kept = wide_run(*UPRIGHT, "auto", 300, tmp_path / "kept").history[-1]
    assert kept["behaviour_violations"] == 0
    assert kept["terminations"] == 0
    assert kept["outside_set"] == 0
    assert kept["intervention_rate"] > 0.2
    assert kept["interventions"] > 60
    assert kept["residual_share"] < 0.8
    lost = wide_run(*UPRIGHT, "none", 300).history[-1]
    assert lost["behaviour_violations"] > 25
    assert lost["interventions"] == 0

    # Oracle: the certificate's own lines, put on the proposals of the log.
    records = read_records(tmp_path / "kept" / "transitions.bin")
    low, high = certified("pendulum-upright")[1].clip().interval(records["x"]).T
    wanted = np.minimum(np.maximum(np.clip(records["proposed"][:, 0], -2.0, 2.0), low), high)
    np.testing.assert_array_equal(records["u"][:, 0], wanted)
    assert (np.abs(records["x1"]) <= [0.25, 1.0]).all()
    assert (np.abs(wanted - np.clip(records["proposed"][:, 0], -2, 2)) > 4e-6).sum() == kept["interventions"]


@pytest.mark.parametrize(
    ("name", "state"), [("yannctl/CSTR-v0", 1), ("yannctl/DifferentialDrive-v0", 0)], ids=["reactor", "robot"]
)
def test_the_analytic_sets_keep_their_limits_too(name, state):
    kept = wide_run(name, {}, "auto", 200, algorithm="td3").history[-1]
    assert (kept["behaviour_violations"], kept["terminations"], kept["outside_set"]) == (0, 0, 0)
    assert kept["intervention_rate"] > 0.0


def test_a_plant_outside_its_certificate_is_noticed():
    env = gymnasium.make(UPRIGHT[0], **UPRIGHT[1])
    guard = safeguard_of(env, task_of(env))
    x, u = np.array([0.05, 0.1]), np.array([0.5])
    assert guard.residual_share(x, u, Pendulum(m=1.03).step(x, u)) <= 0.0
    assert guard.residual_share(x, u, Pendulum(m=1.3).step(x, u)) > 1.0


def test_proposed_and_applied_input_are_both_in_the_memory():
    env = gymnasium.make(UPRIGHT[0], **UPRIGHT[1])
    guard = safeguard_of(env, task_of(env))
    from yannctl.rl.run import Run

    run = Run(None, None, env, "ddpg", 0, TINY, guard)
    for _ in range(60):
        run.step()
    width = run.replay.widths
    rows = run.replay.table[:60].split(width, 1)
    x, a, proposed = rows[0].double().numpy(), rows[2].numpy(), rows[3].numpy()
    assert (a != proposed).any()
    low, high = guard.filter.safe_set.interval(x).T / 2.0
    np.testing.assert_allclose(a[:, 0], np.clip(proposed[:, 0], low, high), atol=2e-6)


@pytest.mark.slow
def test_a_learner_that_knows_what_lies_beyond_the_filter_does_not_run_away():
    """Keep-upright: with proposals in the batches the filter is left alone in the end; without, it acts always."""
    rates = {}
    for proposals in (True, False):
        settings = rl.TrainingSettings(tensorboard=False, gate_starts=16, screen_starts=8, gate_every=500)
        settings = settings.changed({"model.use": "off", "updates_per_step": 2, "proposals": proposals})
        env = gymnasium.make(UPRIGHT[0], **UPRIGHT[1])
        result = rl.train(Upright(), None, env, steps=2500, seed=0, settings=settings)
        assert result.history[-1]["behaviour_violations"] == 0
        rates[proposals] = result.history[-1]["intervention_rate"]
    assert rates[True] < 0.05
    assert rates[False] > 0.5


def test_the_gate_runs_behind_the_filter_from_starts_inside_its_set():
    plant = Pendulum(task="upright")
    found = cover(plant)
    env = gymnasium.make(UPRIGHT[0], **UPRIGHT[1])
    guard = safeguard_of(env, task_of(env))
    starts = guard.guarded(task_of(env)).starts(np.random.default_rng(3), 50)
    assert found.filter.safe_set.contains(starts).all()
    assert not found.filter.safe_set.contains(plant.sample_starts(50, 3)).all()

    free, kept = (rl.evaluate(Push(), plant, starts, 40, safety=safety) for safety in (None, guard))
    assert (free.violations > 0).all()
    assert (free.interventions == 0).all()
    assert (kept.violations == 0).all()
    # Oracle: the filter step by step.
    x, acted = starts.copy(), np.zeros(50)
    for _ in range(40):
        low, high = found.filter.safe_set.interval(x).T
        u = np.minimum(np.maximum(2.0, low), high)
        acted += np.abs(u - 2.0) > 4e-6
        x = plant.step(x, u[:, None])
    np.testing.assert_array_equal(kept.interventions, acted / 40)


def test_a_run_behind_the_filter_resumes_bit_for_bit(tmp_path):
    straight = wide_run(*UPRIGHT, "auto", 150, tmp_path / "a")
    wide_run(*UPRIGHT, "auto", 90, tmp_path / "b")
    resumed = wide_run(*UPRIGHT, "auto", 150, None, tmp_path / "b")
    for one, other in zip(straight.learning.parameters(), resumed.learning.parameters(), strict=True):
        assert torch.equal(one, other)
    skip = ("seconds", "updates_per_second")
    rows = [[{k: v for k, v in row.items() if k not in skip} for row in run.history] for run in (straight, resumed)]
    assert rows[0] == rows[1] or repr(rows[0]) == repr(rows[1])
    with pytest.raises(rl.CheckpointError, match="another law, algorithm"):
        wide_run(*UPRIGHT, "none", 160, None, tmp_path / "b")


def test_the_result_can_be_used_raw_and_filtered():
    result = wide_run(*UPRIGHT, "auto", 60)
    x = torch.tensor([[0.2, 0.3], [0.0, 0.0], [-0.15, -0.4]], dtype=torch.float64)
    raw, filtered = result.deployed(x), result.filtered(x)
    np.testing.assert_array_equal(filtered, result.safeguard.filter(x.numpy(), raw.detach().numpy()))
    assert torch.equal(result.filtered(x[0]), filtered[0])
    assert result.safeguard.name == "pendulum-upright"
    assert "g +-1 %" in result.safeguard.line()
    none = wide_run("yannctl/Pendulum-v0", {}, "auto", 20)
    assert none.filtered is none.deployed
    assert "no filter: Pendulum declares no hard limit" in none.safeguard.line()


REFUSED = {
    "runaway": (RunawayReactor().perturbed({"A1": 1.2 * RunawayReactor().A1}), "covers A1"),
    "swing-up": (Pendulum(), "no hard limit"),
    "other rod": (Pendulum(task="upright", l=1.1), "l = 1, here 1.1"),
    "heavier": (Pendulum(task="upright", m=1.05), "m = 0.97 to 1.03, here 1.05"),
    "friction": (Pendulum(task="upright", friction=0.05), "friction = 0"),
    "limit": (CSTR(T_max=360.0), "T_max = 365, here 360"),
    "coolant": (CSTR(Tc_min=285.0), "inputs in"),
    "mismatch": (CSTR().perturbed({"k0": 1.2 * CSTR().k0}), "covers k0"),
    "backwards": (DifferentialDrive(vc_min=-0.1), "inputs in"),
    "slip": (DifferentialDrive(side_slip=0.01), "side_slip = 0"),
    "lag": (DifferentialDrive().actuated(), "no certified loop is for"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_plant_that_the_proof_does_not_cover_gets_no_filter(name):
    plant, reason = REFUSED[name]
    found = cover(plant)
    assert found.filter is None
    assert reason in found.reason


COVERED = {
    "runaway-limit": RunawayReactor().perturbed({"A1": 1.08 * RunawayReactor().A1}),
    "pendulum-upright": Pendulum(task="upright", m=1.02, integrator="accurate"),
    "reactor-limit": CSTR(set_point=0.6, cost="QC", dt=0.05).perturbed({"k0": 1.08 * CSTR().k0, "UA": 0.92 * 5e4}),
    "robot-stop": DifferentialDrive(bend=4.0, v_ref=0.1).perturbed({"lag": 0.2, "speed_gain": 0.9}),
}


@pytest.mark.parametrize("name", COVERED)
def test_a_covered_plant_gets_the_filter_built_for_it(name):
    found = cover(COVERED[name])
    assert found.name == name
    assert isinstance(found.filter, SafetyFilter)
    assert (found.certificate is None) == (name == "runaway-limit")


def test_what_the_environment_adds_counts_too():
    for name, fields, reason in (
        ("yannctl/CSTR-v0", {"disturb": True}, "disturbances"),
        ("yannctl/CSTR-v0", {"noise": 1.0}, "noise"),
        (UPRIGHT[0], {"task": "upright", "randomise": True}, "covers m = 0.97 to 1.03, here 0.9 to 1.1"),
        ("Pendulum-v1", {}, "no plant model"),
    ):
        env = gymnasium.make(name, **fields)
        assert reason in safeguard_of(env, task_of(env)).line()
    env = gymnasium.make("yannctl/CSTR-v0", randomise=True)
    assert safeguard_of(env, task_of(env)).name == "reactor-limit"


def test_a_filter_that_is_asked_for_must_fit():
    env = gymnasium.make("yannctl/CSTR-v0")
    task = task_of(env)
    with pytest.raises(ModelError, match="covers nothing here"):
        safeguard_of(env, task, "pendulum-upright")
    with pytest.raises(ModelError, match="no certified loop is called"):
        safeguard_of(env, task, "upright")
    with pytest.raises(ModelError, match="filter"):
        safeguard_of(env, task, certified("pendulum-upright")[1])
    other = dataclasses.replace(task, nx=3)
    with pytest.raises(ModelError, match="2 states and 1 inputs, the plant has 3"):
        safeguard_of(env, other, cover(CSTR()).filter)
    own = gymnasium.make("yannctl/CSTR-v0", filter=cover(CSTR()).filter)
    assert safeguard_of(own, task).filter is own.unwrapped.filter
    loose = gymnasium.make("yannctl/CSTR-v0", filter=lambda x, u: u)
    assert "filter of its own" in safeguard_of(loose, task).line()


def test_a_certificate_with_a_verified_border_gives_its_filter_to_its_own_plant_only():
    certificate = robot_stopping_certificate()
    env = gymnasium.make("yannctl/DifferentialDrive-v0")
    found = safeguard_of(env, task_of(env), certificate)
    x = np.array([[0.09, 1.0, 0.2, 0.0, 0.0]])
    assert found.reason == certificate.statement.note
    assert np.array_equal(
        found(x, np.array([[0.22, 0.0]])), cover(DifferentialDrive()).filter.decide(x, [[0.22, 0.0]]).u
    )
    slower = dataclasses.replace(certificate, statement=dataclasses.replace(certificate.statement, dt=0.2))
    with pytest.raises(ModelError, match=r"sampled every 0\.2"):
        safeguard_of(env, task_of(env), slower)
