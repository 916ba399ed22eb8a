"""Every number of a training run, in one place; the defaults are the measured recipe of the package."""

import dataclasses
import difflib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any

from yannctl.errors import ModelError

from .ddpg import DdpgSettings
from .device import DEVICES
from .dsact import DsactSettings
from .model_settings import ImitationSettings, ModelSettings
from .td3 import Td3Settings

WORDS: dict[str, tuple[str, ...]] = {
    "warmup": ("uniform", "policy"),
    "actor": ("residual", "published"),
    "critic_base": ("none", "validity", "everywhere"),
    "device": DEVICES,
}


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of `train`.

    Args:
        gamma: discount factor.
        width: units of each hidden layer of policy and critics.
        depth: number of hidden layers of policy and critics.
        layer_norm: whether the critics' hidden layers are normalised.
        batch: transitions a gradient step.
        updates_per_step: gradient steps an environment step, once the warm-up is over, whatever the number of
            environments; a fraction is allowed (0.05: one in twenty steps).
        environments: how many copies of the environment are stepped side by side.
        warmup_steps: environment steps before the first update.
        warmup: what is sent then: "uniform" in the input box, or samples of the untrained "policy".
        replay_capacity: transitions kept.
        proposals: whether, behind a filter or limits that inputs share, every second transition of a batch is learned
            from as it was proposed, so that the critics know what lies beyond.
        reward_scale: factor on every reward inside the learner; None: one over the mean absolute reward of the
            warm-up. Returns in logs and in the gate are never scaled.
        authority: largest change the learned part may make to the law's input, as a fraction of the input range.
        actor: the form of the learned part: "residual" (one network, of the package's own) or "published" (additions
            a region and a trained LQR critic, by `rl.published`; DDPG only).
        critic_base: where the exact critic is added to the learned ones: "none", "validity" (weighted by how well its
            linear model predicts the observed step) or "everywhere".
        gate_every: environment steps between two tests of the gate, or two evaluations where there is no gate.
        gate_starts: fresh common starts of each test.
        screen_starts: starts on which the present and the averaged policy are compared before it, each time.
        evaluation_episodes: episodes of each evaluation of an environment without a nominal model.
        gate_alpha: probability that a policy that is not better is promoted in the whole run.
        max_rollbacks: rollbacks without a healthy test in between before training stops with an error.
        explosion: a mean |Q| above this multiple of max |reward| / (1 - gamma) counts as diverged.
        checkpoint_every: environment steps between two checkpoints; 0: only at the end.
        threads: torch threads while training; the number before is restored.
        pretrain_updates: gradient steps on recorded data before the first step, where there are any.
        cloning_alpha: weight of the critic against the recorded actions meanwhile (TD3+BC, paper 2.5; 0: imitation).
        compile: whether torch compiles the losses on their first use (a minute, needs a C++ compiler); it pays for
            narrow networks and long runs, and gives other last bits than the plain form.
        device: where the learner and its memory are: "cpu", "cuda" (a GPU) or "auto" (a GPU where torch sees one).
            Environments, gate and filter stay on the CPU.
        tensorboard: whether to write TensorBoard events next to progress.csv.
        model: what the nonlinear model is used for beside the gate.
        imitation: how a teacher on that model is imitated, where there is one.
        dsact: settings of DSAC-T.
        td3: settings of TD3.
        ddpg: settings of DDPG.
    """

    gamma: float = 0.99
    width: int = 64
    depth: int = 2
    layer_norm: bool = True
    batch: int = 128
    updates_per_step: int | float = 8
    environments: int = 1
    warmup_steps: int = 400
    warmup: str = "uniform"
    replay_capacity: int = 100_000
    proposals: bool = True
    reward_scale: float | None = None
    authority: float = 1.0
    actor: str = "residual"
    critic_base: str = "none"
    gate_every: int = 200
    gate_starts: int = 256
    screen_starts: int = 64
    evaluation_episodes: int = 10
    gate_alpha: float = 0.05
    max_rollbacks: int = 3
    explosion: float = 10.0
    checkpoint_every: int = 200
    threads: int = 1
    pretrain_updates: int = 0
    cloning_alpha: float = 2.5
    compile: bool = False
    device: str = "cpu"
    tensorboard: bool = True
    model: ModelSettings = field(default_factory=ModelSettings)
    imitation: ImitationSettings = field(default_factory=ImitationSettings)
    dsact: DsactSettings = field(default_factory=DsactSettings)
    td3: Td3Settings = field(default_factory=Td3Settings)
    ddpg: DdpgSettings = field(default_factory=DdpgSettings)

    def __post_init__(self) -> None:
        whole = ("width", "depth", "batch", "environments", "warmup_steps", "replay_capacity", "gate_every", "threads")
        for name in (*whole, "evaluation_episodes"):
            if getattr(self, name) < 1:
                raise ModelError(name, f"got {getattr(self, name)}, expected a whole number above zero")
        for name in ("gamma", "gate_alpha"):
            if not 0.0 < getattr(self, name) < 1.0:
                raise ModelError(name, f"got {getattr(self, name)}, expected a number between 0 and 1")
        if not 0.0 < self.updates_per_step < 1e6:
            raise ModelError("updates_per_step", f"got {self.updates_per_step}, expected a number above zero")
        if self.reward_scale is not None and not self.reward_scale > 0.0:
            raise ModelError("reward_scale", f"got {self.reward_scale}, expected a number above zero or none")
        if self.gate_starts < 2:
            raise ModelError("gate_starts", f"got {self.gate_starts}, expected at least 2", remedy="256 is usual")
        for name, words in WORDS.items():
            if getattr(self, name) not in words:
                wanted = " or ".join([", ".join(map(repr, words[:-1])), repr(words[-1])])
                raise ModelError(name, f"got {getattr(self, name)!r}, expected {wanted}")

    def record(self) -> dict[str, Any]:
        """The settings as nested plain values, for settings.json."""
        return dataclasses.asdict(self)

    @classmethod
    def of_record(cls, record: dict[str, Any]) -> "TrainingSettings":
        """Read back what `record` gave.

        Args:
            record: nested plain values.

        Returns:
            The settings.

        Raises:
            ModelError: for a name that is no setting.
        """
        return cls().changed({f"{name}": value for name, value in _leaves(record)})

    def changed(self, values: Mapping[str, Any]) -> "TrainingSettings":
        """The same settings with some numbers changed.

        Args:
            values: value by name; a number of one algorithm as "dsact.actor_rate".

        Returns:
            New settings.

        Raises:
            ModelError: for a name that is no setting, or a value of another kind than the setting's.
        """
        own: dict[str, Any] = {}
        parts: dict[str, dict[str, Any]] = {}  # changed at once, since some numbers are checked together
        for name, value in values.items():
            part, _, inner = name.partition(".")
            target = own.get(part, getattr(self, part, None)) if inner else self
            if not dataclasses.is_dataclass(target) or isinstance(target, type):
                raise _unknown(name, self)
            kinds = {field.name: field.type for field in dataclasses.fields(target)}
            if (inner or part) not in kinds:
                raise _unknown(name, self)
            _check_kind(name, kinds[inner or part], getattr(target, inner or part), value)
            (parts.setdefault(part, {}) if inner else own)[inner or part] = value
        for part, inner_values in parts.items():
            own[part] = dataclasses.replace(own.get(part, getattr(self, part)), **inner_values)
        return dataclasses.replace(self, **own)


def profile(name: str) -> TrainingSettings:
    """Settings by name.

    "recipe": the package's measured recipe for a plant behind the gate, eight updates a step. "fast": for any
    environment, to see within minutes on one core whether it learns. "paper": DSAC-T as published (authors' code of
    February 2024): three hidden layers of 256 without normalisation, tanh-Gaussian with log pi in physical units, one
    update in twenty steps of twenty environments, warm-up of 10 000 steps by the untrained policy, no reward scaling.
    "published": YANN-DDPG as published, see `rl.published` for what is the paper's and what is ours; it takes DDPG, an
    explicit law and the LQR critic (`encode_critic(ocp, kind="lqr")`).

    Args:
        name: one of `PROFILES`.

    Returns:
        The settings.

    Raises:
        ModelError: for another name.
    """
    if name not in PROFILES:
        raise ModelError("profile", f"got {name!r}, expected one of {', '.join(PROFILES)}")
    return TrainingSettings().changed(PROFILES[name])


PROFILES: dict[str, dict[str, Any]] = {
    "recipe": {},
    "fast": {
        "updates_per_step": 1,
        "batch": 256,
        "warmup_steps": 500,
        "gate_every": 1000,
        "checkpoint_every": 1000,
        "explosion": 30.0,
    },
    "paper": {
        "width": 256,
        "depth": 3,
        "layer_norm": False,
        "batch": 256,
        "updates_per_step": 0.05,
        "environments": 20,
        "warmup_steps": 10_000,
        "warmup": "policy",
        "replay_capacity": 1_000_000,
        "reward_scale": 1.0,
        "authority": 0.5,
        "gate_every": 10_000,
        "checkpoint_every": 10_000,
        "explosion": 1e6,
        "dsact.policy": "tanh",
        "dsact.std": 1.0,
        "dsact.alpha": math.e,
        "dsact.actor_rate": 1e-4,
        "dsact.critic_rate": 1e-4,
        "dsact.alpha_rate": 3e-4,
        "dsact.target_rate": 0.005,
    },
    "published": {
        "actor": "published",
        "critic_base": "everywhere",
        "model.use": "off",
        "layer_norm": False,
        "batch": 64,
        "updates_per_step": 1,
        "warmup_steps": 64,
        "warmup": "policy",
        "reward_scale": 1.0,
        "explosion": 1e6,
        "ddpg.actor_rate": 1e-4,
        "ddpg.critic_rate": 1e-3,
        "ddpg.std": 0.0,
        "ddpg.target_rate": 0.005,
        "ddpg.delay": 1,
    },
}


def _check_kind(name: str, kind: Any, old: Any, value: Any) -> None:
    """Refuse a word or a number that is not finite where a number stands, a number where a word stands."""
    if isinstance(old, bool) or isinstance(value, bool):
        if not (isinstance(old, bool) and isinstance(value, bool)):
            raise ModelError(
                name, f"got {value!r}, expected {'true or false' if isinstance(old, bool) else 'no truth'}"
            )
    elif kind is int:
        if not isinstance(value, Integral):
            raise ModelError(name, f"got {value!r}, expected a whole number")
    elif old is None or isinstance(old, int | float):
        nothing = value is None and kind == float | None
        if not nothing and not (isinstance(value, int | float) and math.isfinite(value)):
            raise ModelError(name, f"got {value!r}, expected a finite number")
    elif isinstance(old, str) and not isinstance(value, str):
        raise ModelError(name, f"got {value!r}, expected a word")


def _unknown(name: str, settings: "TrainingSettings") -> ModelError:
    """The refusal of a name, with the names that may have been meant."""
    known = [there for there, _ in _leaves(dataclasses.asdict(settings))]
    last = name.rpartition(".")[2]
    near = [there for there in known if there.rpartition(".")[2] == last][:2] or difflib.get_close_matches(
        name, known, 2
    )
    remedy = f"did you mean {' or '.join(near)}?" if near else "settings.json of any run has every name"
    return ModelError(name, "is no setting of training", remedy=remedy)


def _leaves(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in record.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
