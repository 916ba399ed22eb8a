"""Every number of a training run, in one place; the defaults are the measured recipe of the package."""

import dataclasses
from dataclasses import dataclass, field

from yannctl.errors import ModelError

from .ddpg import DdpgSettings
from .dsact import DsactSettings


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of `train`.

    Args:
        gamma: discount factor.
        width: units of the two hidden layers of policy and critics.
        batch: transitions a gradient step.
        updates_per_step: gradient steps an environment step, once the warm-up is over.
        warmup_steps: environment steps with inputs uniform in the input box, before the first update.
        replay_capacity: transitions kept.
        reward_scale: factor on every reward inside the learner; None: one over the mean absolute reward of the
            warm-up. Returns in logs and in the gate are never scaled.
        authority: largest change the learned part may make to the law's input, as a fraction of the input range.
        critic_base: where the exact critic is added to the learned ones: "none", "validity" (weighted by how well its
            linear model predicts the observed step) or "everywhere".
        gate_every: environment steps between two tests of the gate.
        gate_starts: fresh common starts of each test.
        screen_starts: starts on which the present and the averaged policy are compared before it, each time.
        gate_alpha: probability that a policy that is not better is promoted in the whole run.
        max_rollbacks: rollbacks without a healthy test in between before training stops with an error.
        explosion: a mean |Q| above this multiple of max |reward| / (1 - gamma) counts as diverged.
        checkpoint_every: environment steps between two checkpoints; 0: only at the end.
        threads: torch threads while training; the number before is restored.
        tensorboard: whether to write TensorBoard events next to progress.csv.
        dsact: settings of DSAC-T.
        ddpg: settings of DDPG.
    """

    gamma: float = 0.99
    width: int = 64
    batch: int = 128
    updates_per_step: int = 8
    warmup_steps: int = 400
    replay_capacity: int = 100_000
    reward_scale: float | None = None
    authority: float = 1.0
    critic_base: str = "none"
    gate_every: int = 200
    gate_starts: int = 256
    screen_starts: int = 64
    gate_alpha: float = 0.05
    max_rollbacks: int = 3
    explosion: float = 10.0
    checkpoint_every: int = 200
    threads: int = 1
    tensorboard: bool = True
    dsact: DsactSettings = field(default_factory=DsactSettings)
    ddpg: DdpgSettings = field(default_factory=DdpgSettings)

    def __post_init__(self) -> None:
        positive = ("width", "batch", "updates_per_step", "warmup_steps", "replay_capacity", "gate_every", "threads")
        for name in positive:
            if getattr(self, name) < 1:
                raise ModelError(name, f"got {getattr(self, name)}, expected a whole number above zero")
        for name in ("gamma", "gate_alpha"):
            if not 0.0 < getattr(self, name) < 1.0:
                raise ModelError(name, f"got {getattr(self, name)}, expected a number between 0 and 1")
        if self.gate_starts < 2:
            raise ModelError("gate_starts", f"got {self.gate_starts}, expected at least 2", remedy="256 is usual")
        if self.critic_base not in ("none", "validity", "everywhere"):
            raise ModelError("critic_base", f"got {self.critic_base!r}, expected 'none', 'validity' or 'everywhere'")

    def record(self) -> dict:
        """The settings as nested plain values, for settings.json."""
        return dataclasses.asdict(self)
