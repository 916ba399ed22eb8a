"""The page of a training run: its numbers against rollouts written out here, and nothing loaded from outside."""

import dataclasses
import html.parser
import json

import gymnasium
import numpy as np
import torch

from tests.rl.conftest import Integrator
from yannctl import rl
from yannctl.cli import training_comparison, training_page
from yannctl.cli.training_comparison import Comparison, changes
from yannctl.cli.training_page import write_training_page
from yannctl.models import CSTR, DifferentialDrive
from yannctl.rl.environment import PlantEnvironment
from yannctl.rl.networks import CentreLaw
from yannctl.rl.safeguard import safeguard_of
from yannctl.rl.task import task_of
from yannctl.yann import extend


class Gain(torch.nn.Module):
    """u = x K, for any sizes."""

    def __init__(self, gain):
        super().__init__()
        self.register_buffer("gain", torch.tensor(gain, dtype=torch.float64))

    def forward(self, x):
        return x @ self.gain


class Page(html.parser.HTMLParser):
    """Tags that are open, sources of pictures, and all text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.sources, self.words, self.headings = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "img", "source"):
            self.open.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "srcset", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)


KEPT, OPENED = "the candidate is not better with confidence", "better with confidence, violations not up"
EVENTS = [
    rl.GateEvent(200, 1, "kept", KEPT, 0.03, 64, "present", -9.0, -5.5, -5.0, -0.5, -1.25),
    rl.GateEvent(400, 2, "promoted", OPENED, 0.008, 64, "averaged", -4.0, -3.0, -5.0, 2.0, 1.75),
    rl.GateEvent(500, 0, "rollback", "NaN or exploding values; last healthy learner restored"),
]


def tuned(law, plant, size=0.05):
    """A policy whose learned part is not zero any more."""
    policy = extend(law, plant, (8,), seed=3, dtype=torch.float64)
    with torch.no_grad():
        policy.learned[-1].bias += size
    return policy.requires_grad_(False)


def write(folder, env, law, plant, events=(), history=(), guard=None):
    result = rl.TrainingResult(
        tuned(law, plant),
        tuned(law, plant, -0.3),
        list(history),
        list(events),
        1.0,
        *([] if guard is None else [guard]),
    )
    command = {
        "env": "test",
        "law": True,
        "algorithm": "ddpg",
        "steps": 500,
        "seed": 4,
        "filter": "auto",
        "changes": {},
    }
    settings = {"settings": rl.TrainingSettings().record(), "facts": {"deployed": "by the gate <here>"}}
    (folder / "settings.json").write_text(json.dumps(settings))
    path, found = write_training_page(result, env, command, folder)
    page = Page(path.read_text())
    assert not page.open
    assert page.sources
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert "What is not claimed" in page.headings
    return page, found, result


def test_numbers_are_those_of_rollouts_and_of_the_gate(tmp_path):
    plant, law = Integrator(), Gain([[-0.3]])
    row = {"step": 400, "learning_return": -4.0, "deployed_return": -3.0, "promoted": 1, "behaviour_violations": 7}
    page, found, result = write(tmp_path, PlantEnvironment(plant), law, plant, EVENTS, [row])
    text = " ".join(page.words)

    # Oracle 1: the loops written out.
    x, returns = found.starts.copy(), {}
    policies = {"linear": lambda x: -0.3 * x, "tuned": lambda x: result.deployed(torch.from_numpy(x)).numpy()}
    for name, policy in policies.items():
        x, returns[name] = found.starts.copy(), np.zeros(len(found.starts))
        for _ in range(20):
            u = np.clip(policy(x), -3, 3)
            returns[name] -= x[:, 0] ** 2 + 0.1 * u[:, 0] ** 2
            x = x + 0.4 * u
        np.testing.assert_allclose(found.rows[name].returns, returns[name], rtol=1e-12)
    gain = returns["tuned"] - returns["linear"]
    mean, half = gain.mean(), 1.96 * gain.std(ddof=1) / np.sqrt(len(gain))
    np.testing.assert_allclose(found.gain("tuned"), (mean, mean - half, mean + half), rtol=1e-12)
    assert f"{mean - half:+.4g} to {mean + half:+.4g}" in text
    assert f"{(gain < 0).sum()} of {len(gain)}" in text

    # Oracle 2: the Riccati recursion over the episode for the best known.
    P = 0.0
    for _ in range(20):
        P = 1.0 + P - (P * 0.4) ** 2 / (0.1 + 0.4 * P * 0.4)
    best = -P * found.starts[:, 0] ** 2
    np.testing.assert_allclose(found.rows["optimum"].returns.mean(), best.mean(), rtol=1e-2)  # what the page claims
    closed = mean / (found.rows["optimum"].returns - returns["linear"]).mean()
    assert f"{100 * closed:.1f} %" in text
    assert (found.rows["optimum"].returns >= returns["linear"] - 1e-9).all()

    # Oracle 3: the change of the input.
    for path in (tmp_path / "pictures").iterdir():
        width = int.from_bytes(path.read_bytes()[16:20], "big")  # of a PNG's header
        assert (width < 700) == path.name.endswith("_narrow.png")
    change = changes(found)["at the common starts"]
    np.testing.assert_allclose(change, (policies["tuned"](found.starts) + 0.3 * found.starts) / 6.0, atol=1e-15)

    for said in ("rollback", "-1.25", "1.75", "promoted", "1 of 2", "by the gate <here>", "setting: ddpg.std"):
        assert said in text
    assert "dsact.std" not in text
    assert "No safety claim of any kind" in text


def test_what_the_gate_took_for_the_plant_is_shown(tmp_path):
    plant = CSTR()
    event = dataclasses.replace(
        EVENTS[1], model="fitted", parameters={"k0": 7.7e10, "UA": 46100.0}, standard_errors={"k0": 1.2e7, "UA": 31.0},
        plant_episodes=3, model_optimism=0.25,
    )  # fmt: skip
    result = rl.TrainingResult(Gain([[0.0], [0.0]]), Gain([[0.0], [0.0]]), [], [event], 1.0)
    comparison = Comparison(plant, np.zeros((1, 2)), {}, {}, np.sin, np.sin, "")
    (section,) = training_page._model(training_page.Told(result, {}, {}, comparison, tmp_path))
    rows = {row[0]: row[1:] for row in section.rows}
    assert rows["UA"] == ["46100", "31", "45000 to 55000", "J/(min K)"]
    assert "estimated from the transitions" in section.text
    assert "3 logged episodes" in section.text
    assert "+0.25" in section.text


def test_five_states_two_inputs_behind_a_filter(tmp_path):
    plant = DifferentialDrive()
    law = Gain([[-0.2, -6.0], [0.0, -2.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    env = gymnasium.make("yannctl/DifferentialDrive-v0")
    guard = safeguard_of(env, task_of(env))
    row = {"step": 400, "learning_return": -4.0, "deployed_return": -3.0, "promoted": 0, "behaviour_violations": 0}
    row |= {"intervention_rate": 0.2, "deployed_intervention_rate": 0.0, "interventions": 80, "outside_set": 0}
    page, found, _ = write(tmp_path, env, law, plant, history=[row], guard=guard)
    text = " ".join(page.words)
    assert guard.filter.safe_set.contains(found.starts).all()
    assert found.rows["tuned"].violations.sum() == 0
    assert "optimum" not in found.rows
    assert "at most two states and one input" in text
    assert "robot-stop" in text
    assert "no SIL certificate" in text
    assert {path.name for path in (tmp_path / "pictures").iterdir()} >= {
        "map_vc.png",
        "map_wc_narrow.png",
        "slices.png",
    }


def test_an_environment_without_a_model_gets_a_page_too(tmp_path):
    env = gymnasium.make("Pendulum-v1")
    row = {"step": 400, "learning_return": -4.0, "deployed_return": -3.0, "promoted": 1, "behaviour_violations": 0}
    law = CentreLaw(np.array([-2.0]), np.array([2.0]))
    page, found, _ = write(tmp_path, env, law, task_of(env).bounds, history=[row])
    assert found is None
    assert "there is no gate" in " ".join(page.words)
    assert "The law before and after" not in page.headings


def test_a_grid_that_a_law_surpasses_is_no_bound(tmp_path, monkeypatch):
    monkeypatch.setattr(training_comparison, "NODES", 4)
    plant = Integrator()
    page, found, _ = write(tmp_path, PlantEnvironment(plant), Gain([[-1.8]]), plant)
    text = " ".join(page.words)
    assert "optimum" not in found.rows
    assert found.gap_closed() is None
    assert "too coarse for this task" in text
    assert "best state feedback (grid)" not in text
