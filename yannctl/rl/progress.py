"""What a run says of itself: the facts of settings.json, and the rows of progress.csv."""

from typing import Any

import numpy as np

from .gate import GateEvent
from .run import Run


def facts_of(run: Run) -> dict[str, Any]:
    """What settings.json says: identity, and what is easily taken for granted.

    Args:
        run: the run.

    Returns:
        Values for JSON.
    """
    settings = run.settings
    gate = "by the gate on the nominal model"
    if run.model is not None and run.model.settings.gate == "fitted":
        gate = "by the gate on the model fitted to the plant's data, on its declared ranges before"
    facts: dict[str, Any] = {
        "updates_per_environment_step": settings.updates_per_step,
        "termination": "nothing is bootstrapped beyond it",
        "truncation": "the value is bootstrapped beyond it",
        "actions": "scaled to [-1, 1] inside the learner",
        "deployed": gate if run.task.plant is not None else "best of evaluation episodes; no model, no gate",
        "model": "not used for training" if run.model is None else "simulated transitions, counted as model_steps",
        "filter": run.safeguard.line(),
    }
    if run.algorithm == "dsact":
        facts["log_prob_units"] = run.learner.policy.units
        facts["target_entropy"] = settings.dsact.entropy(run.task.nu)
    return {**run.identity(), "facts": facts}


def progress_row(run: Run, event: GateEvent, seconds: float, updates: int) -> dict[str, Any]:
    """One row of progress.csv; the deployed return is the one after the decision.

    Args:
        run: the run.
        event: what the gate just decided.
        seconds: wall time of this call so far.
        updates: updates done before this call.

    Returns:
        Numbers by column.
    """
    promoted, count = event.decision == "promoted", run.count
    before = run.pretrained + (0 if run.model is None else run.model.updates)
    returns = [part.last_return for part in run.fleet if np.isfinite(part.last_return)]
    return {
        "step": event.step,
        "updates": run.learner.updates,
        "episodes": count.terminations + count.truncations,
        "behaviour_return": float(np.mean(returns)) if returns else float("nan"),
        "behaviour_violations": count.violations,
        "learning_return": event.learning_return,
        "candidate_return": event.candidate_return,
        "deployed_return": event.candidate_return if promoted else event.deployed_return,
        "promoted": int(promoted),
        "gate_plant_steps": event.gate_plant_steps,
        "gate_model_steps": event.gate_model_steps,
        "model_steps": 0 if run.model is None else run.model.steps,
        "model_updates": 0 if run.model is None else run.model.updates,
        **run.learner.metrics(),
        "seconds": round(seconds, 3),
        "updates_per_second": round((run.learner.updates - updates) / max(seconds, 1e-9), 1),
        "updates_per_env_step": (run.learner.updates - before) / max(1, count.step - run.warmup_steps + 1),
        "terminations": count.terminations,
        "truncations": count.truncations,
        "clip_fraction": count.clipped / max(1, count.step),
        "interventions": count.interventions,
        "intervention_rate": count.intervention_rate,
        "outside_set": count.outside,
        "deployed_intervention_rate": event.candidate_interventions if promoted else event.deployed_interventions,
        "residual_share": count.residual,
    }
