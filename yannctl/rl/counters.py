"""What a training run counts."""

from dataclasses import dataclass


@dataclass
class Counters:
    """What a run counts.

    Args:
        step: environment steps done.
        tests: tests the gate has made.
        rollbacks: rollbacks since the last healthy test.
        violations: steps of the behaviour policy that ended outside the state bounds.
        terminations: episodes that ended because the task did; nothing is bootstrapped there.
        truncations: episodes that only their time limit ended; the value is bootstrapped there.
        clipped: steps whose input was on or beyond a bound.
        interventions: steps in which a filter changed the proposal.
        outside: steps that began outside the filter's certified set.
        residual: largest share of the certificate's error bound that a step has used.
        intervention_rate: interventions a step between the last two tests.
        tested_step: steps done at the last test.
        tested_interventions: interventions until then.
        largest_reward: largest |reward| seen.
        sum_reward: sum of |reward| over the warm-up.
        reward_scale: factor on rewards inside the learner; 0 until the warm-up has fixed it.
    """

    step: int = 0
    tests: int = 0
    rollbacks: int = 0
    violations: int = 0
    terminations: int = 0
    truncations: int = 0
    clipped: int = 0
    interventions: int = 0
    outside: int = 0
    residual: float = 0.0
    intervention_rate: float = 0.0
    tested_step: int = 0
    tested_interventions: int = 0
    largest_reward: float = 0.0
    sum_reward: float = 0.0
    reward_scale: float = 0.0

    def rate(self) -> None:
        """Take the rate of interventions since the last test."""
        past = max(1, self.step - self.tested_step)
        self.intervention_rate = (self.interventions - self.tested_interventions) / past
        self.tested_step, self.tested_interventions = self.step, self.interventions
