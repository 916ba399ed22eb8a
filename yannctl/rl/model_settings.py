"""How a run uses the nonlinear model of its plant, and a teacher on it: each use can be switched off by itself."""

from dataclasses import dataclass

from yannctl.errors import ModelError

CHOICES = {
    "use": ("auto", "on", "off"),
    "parameters": ("ranges", "nominal"),
    "gate": ("fitted", "nominal"),
    "behaviour": ("deployed", "learning"),
}


@dataclass(frozen=True)
class ModelSettings:
    """Settings of everything in a run that asks the nominal model for more than the gate's test.

    Args:
        use: "on", "off", or "auto": on where there are a law, a nominal model and a run that repeats itself bit for
            bit; a learner from scratch does without. Steps of the model are counted apart from those of the plant.
        pretrain_updates: gradient steps on simulated episodes before the first step of the plant; 0: none.
        retrain_updates: gradient steps on the fitted model each time the estimate has moved; 0: none.
        updates_per_round: gradient steps after each step of the simulated episodes.
        episodes: simulated episodes side by side.
        wide: share of them whose inputs are uniform in the box, or what the filter makes of it, beyond the filling of
            the memory; with 10 000 updates measured to help nowhere and to cost the reactor 2 % of its gap. A training
            of a few hundred updates may need it.
        capacity: simulated transitions kept.
        final_rate: the rates fall from their settings to this share of them in the course of each such training.
        final_std: the noise of DSAC-T falls to this meanwhile, in half ranges.
        proposals: whether the critics learn from what was proposed as well as from what was applied.
        parameters: of simulated episodes while the plant is not known: "ranges" (uniform in the declared ranges) or
            "nominal".
        identify: whether the uncertain parameters are estimated from the plant's transitions before each gate test.
        first_gate: environment steps before the first test with plant data, ahead of the regular ones; 0: none.
        moved: the estimate has moved when it did by this share of a declared range.
        gate: "fitted": the gate tests on parameters as uncertain as the data leave them; "nominal": on the data
            sheet's.
        gate_starts: common starts of each member of that test.
        members: so many times as many starts where the plant is known; else there is a member for each corner.
        replay_share: share of simulated transitions in the batches of updates beside the plant.
        plant_rate: share of the rates in updates beside the plant while the model explains the data.
        behaviour: who acts on the plant while the model explains the data: the "deployed" policy with `std` noise, or
            the "learning" one; where it does not, the learning one explores.
        std: noise of the deployed policy when it acts, in half ranges.
    """

    use: str = "auto"
    pretrain_updates: int = 10_000
    retrain_updates: int = 4000
    updates_per_round: int = 8
    episodes: int = 64
    wide: float = 0.0
    capacity: int = 50_000
    final_rate: float = 0.03
    final_std: float = 0.05
    proposals: bool = True
    parameters: str = "ranges"
    identify: bool = True
    first_gate: int = 50
    moved: float = 0.02
    gate: str = "fitted"
    gate_starts: int = 64
    members: int = 8
    replay_share: float = 0.5
    plant_rate: float = 0.03
    behaviour: str = "deployed"
    std: float = 0.05

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                expected = ", ".join(map(repr, choices))
                raise ModelError(f"model.{name}", f"got {getattr(self, name)!r}, expected one of {expected}")
        at_least = {"updates_per_round": 1, "episodes": 1, "capacity": 1, "members": 1, "gate_starts": 2}
        for name in (*at_least, "pretrain_updates", "retrain_updates", "first_gate"):
            least = at_least.get(name, 0)
            if getattr(self, name) < least:
                raise ModelError(f"model.{name}", f"got {getattr(self, name)}, expected {least} or more")
        if self.capacity < self.episodes:
            raise ModelError("model.capacity", f"got {self.capacity}, fewer than the {self.episodes} model.episodes")
        for name in ("wide", "replay_share", "final_rate", "plant_rate", "std", "final_std"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ModelError(f"model.{name}", f"got {getattr(self, name)}, expected a share from 0 to 1")


@dataclass(frozen=True)
class ImitationSettings:
    """Settings of the imitation of a teacher on the model; without a teacher none of them is used.

    Args:
        states: states that the teacher is asked about before the first step of the plant; 0: none.
        again: the same in each later training on the fitted model; 0: none.
        rounds: the states come in so many rounds, each visited by the policy that the rounds before have made; fewer
            in proportion where `again` is less than `states`.
        episodes: simulated episodes of each round, side by side; many, so that rare failures are among them.
        by_cost: share of the states that are drawn by what they cost.
        by_regret: share that is drawn from episodes in which the policy does worse than the law, by how much; the
            others are drawn evenly.
        noise: deviation of the inputs in every second simulated episode, in half ranges.
        steps: gradient steps on the labels in all; as many of them in the last round as in all others.
        again_steps: the same in each later training.
        polish: updates of the learner afterwards, at the rates of those beside the plant.
        batch: labels a gradient step.
        rate: Adam rate; it falls to a hundredth of it in the last half of each round.
    """

    states: int = 4000
    again: int = 1500
    rounds: int = 8
    episodes: int = 512
    by_cost: float = 0.2
    by_regret: float = 0.2
    noise: float = 0.1
    steps: int = 30_000
    again_steps: int = 10_000
    polish: int = 1600
    batch: int = 128
    rate: float = 8e-3

    def __post_init__(self) -> None:
        at_least = {
            "states": 0,
            "again": 0,
            "rounds": 1,
            "episodes": 1,
            "steps": 1,
            "again_steps": 1,
            "polish": 0,
            "batch": 1,
        }
        for name, least in at_least.items():
            if getattr(self, name) < least:
                raise ModelError(f"imitation.{name}", f"got {getattr(self, name)}, expected {least} or more")
        for name in ("by_cost", "by_regret", "noise"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ModelError(f"imitation.{name}", f"got {getattr(self, name)}, expected a share from 0 to 1")
        if self.by_cost + self.by_regret > 1.0:
            raise ModelError("imitation.by_regret", f"and by_cost are {self.by_cost + self.by_regret}, more than all")
        if not 0.0 < self.rate < 1.0:
            raise ModelError("imitation.rate", f"got {self.rate}, expected a number between 0 and 1")
