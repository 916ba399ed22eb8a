"""One row of the learning benchmark: a task, a method, a seed, trained and judged, as plain data for a file."""

import importlib.metadata
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import gymnasium
import numpy as np
from learning_cloning import law_log
from learning_metrics import difference_interval
from learning_peers import ALGORITHMS as PEERS
from learning_peers import installed, train_peer
from torch import nn

from yannctl import rl
from yannctl.cli.evaluation import provenance
from yannctl.rl.networks import CentreLaw
from yannctl.rl.settings import profile
from yannctl.scenarios.learning import Evaluation, LearningTask

FORMAT = 1  # of a row; rows of another one are made anew
EVERY = 200  # plant steps between two evaluations, for every method
PACKAGES = ("numpy", "torch", "gymnasium", "stable-baselines3")
FULL = {
    "pendulum-swingup": 5000,
    "cstr-setpoint": 5000,
    "robot-kappa6": 6000,
    "pendulum-upright": 3000,
    "pendulum-clipped": 10_000,
    "runaway-published": 3000,
}


@dataclass(frozen=True)
class Method:
    """How a row learns.

    Args:
        title: for people.
        algorithm: "dsact", "td3", "ddpg", or the name of a peer.
        profile: name of the settings.
        changes: settings changed from it.
        law: row of the linear law it starts from; empty from scratch.
        filtered: train behind the filter, where there is one.
        share: of the task's budget of plant steps.
        cloned: start as a network that imitates the law.
        critic: kind of the exact critic that goes with the law.
    """

    title: str
    algorithm: str
    profile: str = "recipe"
    changes: dict[str, Any] = field(default_factory=dict)
    law: str = ""
    filtered: bool = True
    share: float = 1.0
    cloned: bool = False
    critic: str = "exact"

    @property
    def modelled(self) -> bool:
        """Whether it trains on the model too, though from scratch."""
        return self.changes.get("model.use") == "on"

    @property
    def stackable(self) -> bool:
        """Whether several seeds may share one stacked network: one of our learners, from scratch."""
        return not self.law and not self.cloned and self.algorithm not in PEERS and not self.modelled

    def assurance(self, task: LearningTask) -> Literal["auto", "none"]:
        """Whether the filter of a task is looked for: where the task has none, nobody gets one.

        Args:
            task: the task.
        """
        return "auto" if self.filtered and task.safety_filter is not None else "none"

    def budget(self, steps: int) -> int:
        """Plant steps of a run, whole evaluations.

        Args:
            steps: of the task.
        """
        return max(EVERY, int(steps * self.share) // EVERY * EVERY)


QUICK = {"model.pretrain_updates": 200, "model.retrain_updates": 100, "imitation.states": 40, "imitation.steps": 200}
ONE = {"updates_per_step": 1, "batch": 256, "warmup_steps": 500}
# The form on which the ablations were made; what they say of its wide starts, and the teacher, made the present one.
FIRST = {"model.wide": 0.25, "imitation.states": 0, "imitation.again": 0}
METHODS = {
    "ours": Method("ours: the recipe from the law", "dsact", law="linear", share=0.08),
    "ours-first": Method(
        "ours in its first form, base of the ablations", "dsact", changes=FIRST, law="linear", share=0.08
    ),
    "ours-tuned": Method("ours: the recipe from the tuned law", "dsact", law="tuned", share=0.08),
    "dsact-scratch": Method("DSAC-T from scratch, 1 update a step", "dsact", changes=ONE),
    "td3-scratch": Method("TD3 from scratch, 1 update a step", "td3", changes=ONE),
    "ddpg-scratch": Method("DDPG from scratch, 1 update a step", "ddpg", changes=ONE),
    "dsact-scratch-8": Method("DSAC-T from scratch, 8 updates a step", "dsact", share=0.6),
    "td3-scratch-8": Method("TD3 from scratch, 8 updates a step", "td3", share=0.6),
    "sb3-sac": Method("SAC of Stable-Baselines3", "sb3-sac"),
    "sb3-td3": Method("TD3 of Stable-Baselines3", "sb3-td3"),
    "sb3-ddpg": Method("DDPG of Stable-Baselines3", "sb3-ddpg"),
    "ddpg-cloned": Method("DDPG cloned from the law", "ddpg", changes=ONE, cloned=True),
    "published": Method(
        "published recipe (YANN-DDPG)", "ddpg", "published", law="linear", filtered=False, critic="lqr"
    ),
    "scratch-unfiltered": Method("DSAC-T from scratch without the filter", "dsact", filtered=False, share=0.6),
}
ABLATIONS = {
    "scratch-same-model": ("from scratch, same model", {"model.use": "on"}),
    "no-model": ("without the model", {"model.use": "off"}),
    "no-pretraining": ("without pre-training on the model", {"model.pretrain_updates": 0}),
    "no-retraining": ("without training again on the identified model", {"model.retrain_updates": 0}),
    "no-identification": ("without identification", {"model.identify": False}),
    "nominal-gate": ("gate on the nominal model", {"model.gate": "nominal"}),
    "no-model-replay": ("no steps of the model in the batches", {"model.replay_share": 0.0}),
    "learner-acts": ("the learning policy acts", {"model.behaviour": "learning"}),
    "nominal-parameters": ("pre-training on nominal parameters only", {"model.parameters": "nominal"}),
    "no-wide-starts": ("without wide starts: the present form without its teacher", {"model.wide": 0.0}),
    "one-update": ("one update a step", {"updates_per_step": 1}),
    "critic-base": ("exact critic as base where valid", {"critic_base": "validity"}),
}
METHODS |= {
    name: Method(
        f"ablation: {title}",
        "dsact",
        changes={**FIRST, **changes},
        law="" if name == "scratch-same-model" else "linear",
        share=0.1,
    )
    for name, (title, changes) in ABLATIONS.items()
}


class Recorder(gymnasium.Wrapper):
    """Keeps account of what the behaviour policy did to the plant: cost, violations, episodes.

    Args:
        env: the environment.
    """

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        self.steps = self.violations = self.changed = 0
        self.paid = self.episodes = 0.0
        self.length = float(env.unwrapped.plant.episode_steps)
        self._inside = 0

    def step(self, action: np.ndarray) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Pass a step on and count it."""
        x, reward, ended, cut, info = self.env.step(action)
        self.steps += 1
        self._inside += 1
        self.paid -= float(reward)
        self.violations += int(info["cost"] > 0)
        self.changed += int(info["filter_active"])
        if ended or cut:
            self.episodes += 1.0
            self._inside = 0
        return x, reward, ended, cut, info

    def account(self) -> dict[str, float]:
        """Give the sums so far."""
        episodes = self.episodes + self._inside / self.length
        sums = {"paid": self.paid, "episodes": episodes, "violations": self.violations, "changed": self.changed}
        return {"step": self.steps, **sums}


class Judge:
    """Evaluates the policies of one run on the task's grid and keeps the curve.

    Args:
        task: the task.
        recorder: the environment's account.
    """

    def __init__(self, task: LearningTask, recorder: Recorder) -> None:
        self.task, self.recorder = task, recorder
        self.curve: list[dict[str, Any]] = []
        self.deployed: Evaluation | None = None
        self.learning: Evaluation | None = None
        self.first: Evaluation | None = None
        self.seconds = 0.0

    def look(self, step: int, learning: nn.Module, deployed: nn.Module | None = None, changed: bool = True) -> None:
        """Evaluate.

        Args:
            step: plant steps done.
            learning: the learning policy.
            deployed: the deployed policy, where there is a gate.
            changed: whether it changed since the last look.
        """
        begin = time.process_time()
        self.learning = self.task.evaluate(learning)
        if deployed is not None and (changed or self.deployed is None):
            self.deployed = self.task.evaluate(deployed)
        if self.first is None:
            self.first = self.deployed
        row = {**self.recorder.account(), "step": step, "learning": self.learning.mean}
        row["learning_violations"] = int((self.learning.violations > 0).sum())
        if self.deployed is not None:
            row |= {"deployed": self.deployed.mean, "interventions": self.deployed.interventions}
            row["deployed_violations"] = int((self.deployed.violations > 0).sum())
        if self.deployed is not None and self.first is not None:  # against the first one deployed, paired
            gain, low, _ = difference_interval(self.deployed.costs, self.first.costs)
            row |= {"gain": gain, "gain_error": gain - low}
        self.curve.append(row)
        self.seconds += time.process_time() - begin


def train_row(task: LearningTask, name: str, seed: int, steps: int, quick: bool = False) -> dict[str, Any]:
    """Train one method on one task with one seed and judge it all along.

    Args:
        task: the task.
        name: a key of `METHODS`.
        seed: of everything random.
        steps: budget of plant steps of the task.
        quick: with little training on the model, to see that all parts work.

    Returns:
        The row.
    """
    method, wall, cpu = METHODS[name], time.perf_counter(), time.process_time()
    row = begun(task, name, seed)
    if method.algorithm in PEERS and not installed():
        return {**row, "status": "not installed"}
    budget = method.budget(steps)
    recorder = Recorder(task.environment(method.filtered))
    judge = Judge(task, recorder)
    events: list[dict[str, Any]] = []
    try:
        if method.algorithm in PEERS:
            settings = train_peer(method.algorithm, recorder, task.nominal, budget, seed, EVERY, judge.look)
        else:
            settings = _train_ours(task, method, judge, seed, budget, events, QUICK if quick else {})
    except rl.TrainingError as error:
        return {**row, "status": f"stopped: {error}", "curve": judge.curve, "events": events}
    spent = time.perf_counter() - wall, time.process_time() - cpu
    return {**row, "events": events, **finished(judge, method, budget, settings, *spent)}


def begun(task: LearningTask, name: str, seed: int) -> dict[str, Any]:
    """What a row says before anything is learned.

    Args:
        task: the task.
        name: of the method.
        seed: seed.

    Returns:
        Names, machine, commit, versions.
    """
    known = {"format": FORMAT, "task": task.name, "method": name, "title": METHODS[name].title, "seed": seed}
    return {**known, **made_by()}


def finished(
    judge: Judge, method: Method, budget: int, settings: dict[str, Any], wall: float, cpu: float
) -> dict[str, Any]:
    """What a row says at its end.

    Args:
        judge: with the curve.
        method: the method.
        budget: plant steps.
        settings: of the learner.
        wall: wall time [s].
        cpu: processor time, that of the judge included [s].

    Returns:
        Curve, costs on the test starts, times.
    """
    return {
        "status": "done", "steps": budget, "every": EVERY, "algorithm": method.algorithm, "settings": settings,
        "curve": judge.curve, **_final("learning", judge.learning), **_final("deployed", judge.deployed),
        "wall_s": wall, "cpu_s": cpu, "judge_cpu_s": judge.seconds,
    }  # fmt: skip


def control_row(task: LearningTask, kind: str, name: str, make: Callable[[], Any]) -> dict[str, Any]:
    """Judge a controller that does not learn.

    Args:
        task: the task.
        kind: "rival" (linear) or "bound" (knows the truth).
        name: of the row.
        make: makes the controller.

    Returns:
        The row.
    """
    cpu = time.process_time()
    found = task.evaluate(make())
    row = {"format": FORMAT, "task": task.name, "method": name, "kind": kind, "status": "done"}
    return {**row, **_final("deployed", found), "cpu_s": time.process_time() - cpu, **made_by()}


def made_by() -> dict[str, Any]:
    """Machine, commit and versions."""
    known = provenance()
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return {"commit": known["commit"], "machine": known["machine"], "versions": versions}


def settings_of(method: Method) -> rl.TrainingSettings:
    """Settings of one of our learners.

    Args:
        method: the method.
    """
    own = {"gate_every": EVERY} if method.profile == "published" or not method.law else {}
    return profile(method.profile).changed({"tensorboard": False, **own, **method.changes})


def _train_ours(
    task: LearningTask,
    method: Method,
    judge: Judge,
    seed: int,
    budget: int,
    events: list[dict[str, Any]],
    changes: dict[str, Any],
) -> dict[str, Any]:
    settings, recorded = settings_of(method).changed(changes), None
    law = task.law(method.law) if method.law else None
    first = law if law is not None else CentreLaw(task.nominal.u_min, task.nominal.u_max)
    judge.look(0, first, first)

    def watch(event: rl.GateEvent, learning: nn.Module, deployed: nn.Module) -> None:
        events.append(event.record())
        judge.look(event.step, learning, deployed, event.decision == "promoted")

    if method.cloned:
        recorded, settings = law_log(task, seed), settings.changed({"pretrain_updates": 4000, "cloning_alpha": 0.0})
    critic = task.critic(method.critic) if method.law == "linear" else None
    rl.train(
        law, critic, judge.recorder, method.algorithm, budget, seed, settings=settings, on_gate=watch,
        recorded=recorded, assurance=method.assurance(task), teacher=task.teacher() if law else None,
    )  # fmt: skip
    return settings.record()


def _final(who: str, found: Evaluation | None) -> dict[str, Any]:
    if found is None:
        return {}
    costs = [float(f"{cost:.7g}") for cost in found.costs]
    starts = int((found.violations > 0).sum())
    return {who: {"costs": costs, "violating": starts, "interventions": found.interventions, "worst": found.worst}}
