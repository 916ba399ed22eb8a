"""The gate between the policy that learns and the policy that is deployed: a paired test, and its record.

The candidate is the learner's present policy or the running average of its weights, whichever does better on a few
screening starts. Candidate and deployed policy then run from the same fresh starts on the nominal model, so no step of
the plant is spent; D_i is the difference of their returns from start i. The candidate is promoted only if the lower
confidence bound of E[D] is above zero and violations of the state bounds did not rise:

    mean(D) - q_k std(D) / sqrt(n) > 0,    q_k = t + max(0, -skew(D)) (2 t^2 + 1) / (6 sqrt(n)),
    t = t_{1 - alpha_k, n - 1},            alpha_k = alpha 6 / (pi^2 k^2),    k = 1, 2, ...

t is Student's quantile; the second term is the Edgeworth correction for differences with a long lower tail (P. Hall,
The Bootstrap and Edgeworth Expansion, 1992, section 2.6), where Student's bound alone promises too much; the opposite
correction, which would promote earlier, is not used.

The levels alpha_k sum to alpha, so over a whole run, however long, the chance that a policy that is not better is ever
promoted is about alpha at most (union bound; Thomas et al., High Confidence Policy Improvement, ICML 2015, for the
idea). About, because each test is approximate: t is exact for normal differences only, and the Edgeworth term corrects
for skewness to the first order in 1/sqrt(n).
"""

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from yannctl.errors import ModelError


@dataclass(frozen=True)
class GateEvent:
    """One decision of the gate, with every number behind it.

    Args:
        step: environment step at which it was taken.
        index: number k of the test, from 1; 0 where no test was made (a rollback, an imitation).
        decision: "promoted", "kept", "rollback", "imitated" or "not imitated".
        reason: one sentence.
        level: alpha_k spent on this test.
        n_starts: number of common starts.
        candidate: "present" or "averaged" weights of the learner, whichever the screening preferred.
        learning_return: mean return of the learner's present policy on the common starts.
        candidate_return: mean return of the candidate on the common starts.
        deployed_return: mean return of the deployed policy on the same starts.
        difference: mean of the paired differences.
        lower_bound: its one-sided lower confidence bound.
        candidate_violations: steps outside the state bounds, candidate.
        deployed_violations: the same for the deployed policy.
        gate_plant_steps: steps of the plant this decision cost; 0, the gate runs on a model.
        gate_model_steps: steps of the model it cost.
        candidate_interventions: share of the candidate's steps in which the certified filter changed the input.
        deployed_interventions: the same for the deployed policy.
        model: "nominal", or with uncertain parameters "fitted" or "ranges" (not known yet: every corner was asked).
        parameters: those of the model by name.
        standard_errors: their standard errors by name, where the data have been asked.
        doubt: why the model's form does not explain the plant's data, or "".
        plant_episodes: logged episodes of the deployed policy that the model was held against.
        model_optimism: mean of their simulated minus real returns.
    """

    step: int
    index: int
    decision: str
    reason: str
    level: float = 0.0
    n_starts: int = 0
    candidate: str = "present"
    learning_return: float = math.nan
    candidate_return: float = math.nan
    deployed_return: float = math.nan
    difference: float = math.nan
    lower_bound: float = math.nan
    candidate_violations: int = 0
    deployed_violations: int = 0
    gate_plant_steps: int = 0
    gate_model_steps: int = 0
    candidate_interventions: float = 0.0
    deployed_interventions: float = 0.0
    model: str = "nominal"
    parameters: dict[str, float] = field(default_factory=dict)
    standard_errors: dict[str, float] = field(default_factory=dict)
    doubt: str = ""
    plant_episodes: int = 0
    model_optimism: float = 0.0

    def record(self) -> dict[str, Any]:
        """The event as plain numbers and texts, for a log."""
        return asdict(self)


def spent_level(alpha: float, index: int) -> float:
    """Level of the k-th test: alpha 6 / (pi^2 k^2); the sum over all k is alpha.

    Args:
        alpha: level of all tests together.
        index: k, from 1.

    Returns:
        alpha_k.
    """
    return alpha * 6.0 / (math.pi * index) ** 2


def paired_lower_bound(difference: Float[np.ndarray, " n"], level: float) -> float:
    """One-sided lower bound of the mean: mean(D) - q std(D) / sqrt(n), q as in the module's text.

    Args:
        difference: paired differences, at least two.
        level: probability that the bound is above the true mean.

    Returns:
        The bound; -inf for fewer than two differences.
    """
    from scipy.stats import t

    n = len(difference)
    if n < 2:
        return -math.inf
    mean, deviation = float(difference.mean()), float(difference.std(ddof=1))
    quantile = float(t.ppf(1.0 - level, n - 1))
    if deviation > 0.0:
        skew = float(((difference - mean) ** 3).mean()) / deviation**3
        quantile += max(0.0, -skew) * (2.0 * quantile**2 + 1.0) / (6.0 * math.sqrt(n))
    return mean - quantile * deviation / math.sqrt(n)


def decide(
    step: int,
    index: int,
    alpha: float,
    candidate: tuple[Float[np.ndarray, " m"], Int[np.ndarray, " m"]],
    deployed: tuple[Float[np.ndarray, " n"], Int[np.ndarray, " n"]],
    episode_steps: int,
    screen_steps: int = 0,
) -> GateEvent:
    """Test a candidate against the deployed policy on their returns from the same starts.

    mean(D) - q_k std(D) / sqrt(n) > 0 with D = candidate - deployed, and violations not up.

    Args:
        step: environment step.
        index: number k of this test, from 1.
        alpha: level for the whole run.
        candidate: returns and violations of the candidate, a start each.
        deployed: the same for the deployed policy.
        episode_steps: length of each rollout.
        screen_steps: model steps spent beside those of the two, on choosing the candidate and on showing the other one.

    Returns:
        The event; `.decision` is "promoted" or "kept".

    Raises:
        ModelError: if the two policies were not run from the same number of starts.
    """
    n = len(deployed[0])
    if len(candidate[0]) != n:
        raise ModelError("candidate", f"got {len(candidate[0])} returns, expected {n}: one for each common start")
    level = spent_level(alpha, index)
    finite = bool(np.isfinite(candidate[0]).all())
    difference = candidate[0] - deployed[0]
    bound = paired_lower_bound(difference, level) if finite else -math.inf
    violations = int(candidate[1].sum()), int(deployed[1].sum())
    if not finite:
        decision, reason = "kept", "the candidate left the finite numbers"
    elif not bound > 0.0:
        decision, reason = "kept", "the candidate is not better with confidence"
    elif violations[0] > violations[1]:
        decision, reason = "kept", "the candidate leaves the state bounds more often"
    else:
        decision, reason = "promoted", "better with confidence, violations not up"
    return GateEvent(
        step=step,
        index=index,
        decision=decision,
        reason=reason,
        level=level,
        n_starts=n,
        candidate_return=float(candidate[0].mean()),
        deployed_return=float(deployed[0].mean()),
        difference=float(difference.mean()),
        lower_bound=bound,
        candidate_violations=violations[0],
        deployed_violations=violations[1],
        gate_model_steps=2 * n * episode_steps + screen_steps,
    )
