"""Turns the rows of the learning benchmark into its tables: each seed's figures, medians, ratios, targets."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from learning_metrics import (
    gap_closed,
    median_steps,
    quartiles,
    regret,
    relative_gain,
    steps_to_close,
    steps_to_stay,
    worst_difference,
)

Row = dict[str, Any]
ONE_UPDATE = ("dsact-scratch", "td3-scratch", "ddpg-scratch", "sb3-sac", "sb3-td3", "sb3-ddpg")
EQUAL = ("dsact-scratch-8", "td3-scratch-8")
SCRATCH = (*ONE_UPDATE, *EQUAL, "scratch-unfiltered")
OURS = "ours"
GAP_TARGETS = {"pendulum-swingup": 0.95, "cstr-setpoint": 0.90, "robot-kappa6": 0.80}
GAIN_TASKS = ("cstr-setpoint", "robot-kappa6")
FILTERED = ("cstr-setpoint", "robot-kappa6", "pendulum-upright")


def summarise(rows: Sequence[Row]) -> dict[str, Any]:
    """Make the tables of all tasks.

    Args:
        rows: of any tasks, methods and seeds.

    Returns:
        By task: controls, methods, comparison, targets.
    """
    tasks = dict.fromkeys(row["task"] for row in rows)
    return {task: _task([row for row in rows if row["task"] == task]) for task in tasks}


def _task(rows: list[Row]) -> dict[str, Any]:
    controls = {row["method"]: _control(row) for row in rows if "kind" in row}
    if not {"linear", "best"} <= set(controls):
        return {"controls": controls, "methods": {}, "targets": []}
    linear, best = controls["linear"]["cost"], controls["best"]["cost"]
    trained: dict[str, list[Row]] = {}
    missing = {row["method"]: row["status"] for row in rows if "kind" not in row and row["status"] == "not installed"}
    for row in rows:
        if "kind" not in row and row["status"] == "done":
            trained.setdefault(row["method"], []).append(row)
    stopped = [row for row in rows if row["status"].startswith("stopped")]
    for found in trained.values():
        found.sort(key=lambda row: row["seed"])
    methods = {name: _method(found, linear, best) for name, found in trained.items()}
    rival = min((name for name in controls if controls[name]["kind"] == "rival"), key=lambda n: controls[n]["cost"])
    result = {
        "made_by": _made_by(rows), "controls": controls, "best_rival": rival, "methods": methods,
        "not_installed": sorted(missing),
        "stopped": [f"{row['method']} seed {row['seed']}: {row['status']}" for row in stopped], "targets": [],
    }  # fmt: skip
    if OURS in trained:
        costs = {row["method"]: np.array(row["deployed"]["costs"]) for row in rows if "kind" in row}
        result["comparison"] = _compare(trained, methods, costs[rival], best)
        result["targets"] = _targets(rows[0]["task"].split(":")[0], result)
    return result


def _made_by(rows: list[Row]) -> dict[str, Any]:
    """Machines, versions and commits of the rows, each once, and the time they took."""
    found = {key: sorted({str(row[key]) for row in rows if key in row}) for key in ("commit", "machine", "versions")}
    return {**found, "cpu_s": sum(row.get("cpu_s", 0.0) for row in rows)}


def _control(row: Row) -> dict[str, Any]:
    found = row["deployed"]
    costs = np.array(found["costs"])
    return {
        "kind": row["kind"], "source": row.get("source", row["method"]), "cost": float(costs.mean()),
        "violating": found["violating"], "worst": found["worst"], "interventions": found["interventions"],
    }  # fmt: skip


def _method(rows: list[Row], linear: float, best: float) -> dict[str, Any]:
    seeds = [_seed(row, linear, best) for row in rows]
    figures = [key for key in seeds[0] if key not in {"seed", "commit"}]
    spread = {}
    for key in figures:
        values = [np.inf if seed[key] is None else seed[key] for seed in seeds]
        finite = bool(np.isfinite(values).all())
        middle, low, high = quartiles(values) if finite else (median_steps([s[key] for s in seeds]), None, None)
        spread[key] = {"median": middle, "low": low, "high": high}
    known = {"title": rows[0]["title"], "n": len(rows), "steps": rows[0]["steps"], "settings": rows[0]["settings"]}
    return {**known, "figures": spread, "seeds": seeds, "curve": _curve(rows)}


def _curve(rows: list[Row]) -> dict[str, Any]:
    """Median and quartiles over the seeds at every evaluation."""
    steps = [entry["step"] for entry in rows[0]["curve"]]
    rows = [row for row in rows if [entry["step"] for entry in row["curve"]] == steps]
    found: dict[str, Any] = {"steps": steps}
    for who in ("learning", "deployed"):
        if all(who in row["curve"][-1] for row in rows):
            costs = np.array([[entry[who] for entry in row["curve"]] for row in rows])
            low, middle, high = (np.quantile(costs, share, axis=0).tolist() for share in (0.25, 0.5, 0.75))
            found[who] = {"low": low, "median": middle, "high": high}
    return found


def _seed(row: Row, linear: float, best: float) -> dict[str, Any]:
    curve, steps = row["curve"], [entry["step"] for entry in row["curve"]]
    learning = [entry["learning"] for entry in curve]
    deployed = [entry.get("deployed", entry["learning"]) for entry in curve]
    gated = "deployed" in curve[-1]
    last = curve[-1]
    return {
        "seed": row["seed"],
        "gap_deployed": gap_closed(linear, best, deployed[-1]),
        "gap_learning": gap_closed(linear, best, learning[-1]),
        "over_best": deployed[-1] / best - 1.0,
        "steps_deployed": steps_to_close(steps, deployed, linear, best),
        "steps_learning": steps_to_close(steps, learning, linear, best),
        "steps_80_deployed": steps_to_close(steps, deployed, linear, best, share=0.8),
        "steps_80_learning": steps_to_close(steps, learning, linear, best, share=0.8),
        "steps_learning_stays": steps_to_stay(steps, learning, linear, best),
        "worst_deployed_minus_linear": worst_difference(deployed, linear)
        if gated
        else worst_difference(learning, linear),
        # Paired with the first policy deployed, the law: the worst evaluation plus the half width of its 95 % interval.
        "worst_gain_bound": min((e["gain"] + e["gain_error"] for e in curve if "gain" in e), default=float("nan")),
        "worst_learning_minus_linear": worst_difference(learning, linear),
        "paid": last["paid"],
        "regret": regret(steps, [e["paid"] for e in curve], [e["episodes"] for e in curve], best, steps[-1]),
        "violations_training": last["violations"],
        "filter_changed_training": last["changed"] / max(1, steps[-1]),
        "violating_deployed": last.get("deployed_violations", last["learning_violations"]),
        "interventions_deployed": last.get("interventions", row["learning"]["interventions"]),
        "cpu_s": row["cpu_s"],
        "wall_s": row["wall_s"],
        "commit": row["commit"],
    }


def _compare(trained: dict[str, list[Row]], methods: dict, rival: np.ndarray, best: float) -> dict[str, Any]:
    ours = trained[OURS]
    gain, low, high = relative_gain(np.array([row["deployed"]["costs"] for row in ours]), rival)
    result: dict[str, Any] = {"gain_over_best_rival": [gain, low, high]}
    for key, names in (("published", ONE_UPDATE), ("equal_updates", EQUAL)):
        there = [name for name in names if name in trained]
        if not there:
            continue
        own = median_steps([seed["steps_deployed"] for seed in methods[OURS]["seeds"]])
        reached = {name: median_steps([seed["steps_learning"] for seed in methods[name]["seeds"]]) for name in there}
        peer = min(there, key=lambda name: (reached[name], -methods[name]["figures"]["gap_learning"]["median"]))
        slower = max(own, reached[peer])
        horizon = min(slower, methods[peer]["steps"])
        paid = {name: [_regret(row, best, horizon) for row in trained[name]] for name in (OURS, peer)}
        result[key] = {
            "peer": peer, "steps_ours": own, "steps_peer": reached[peer], "ratio": _ratio(own, reached[peer]),
            "steps_of_all": reached, "regret_until": horizon,
            "regret_ours": float(np.median(paid[OURS])), "regret_peer": float(np.median(paid[peer])),
            "regret_ratio": _ratio(float(np.median(paid[OURS])), float(np.median(paid[peer]))),
        }  # fmt: skip
    return result


def _regret(row: Row, best: float, until: float) -> float:
    curve = row["curve"]
    steps, paid, episodes = ([entry[key] for entry in curve] for key in ("step", "paid", "episodes"))
    after = float(np.mean(row["deployed"]["costs"])) if "deployed" in row else None
    return regret(steps, paid, episodes, best, until, after)


def _ratio(own: float, other: float) -> float | None:
    """Quotient; 0 where only the other one never gets there, None where ours does not."""
    if not np.isfinite(own):
        return None
    return own / other if np.isfinite(other) and other > 0 else (0.0 if own < other else None)


def _targets(task: str, result: dict[str, Any]) -> list[dict[str, Any]]:
    """The figures of merit with what they should reach; those about a gap only where there is one."""
    ours, comparison = result["methods"][OURS], result["comparison"]
    figures = {key: value["median"] for key, value in ours["figures"].items()}
    worst = min(seed["worst_deployed_minus_linear"] for seed in ours["seeds"])
    bound = min(seed["worst_gain_bound"] for seed in ours["seeds"])
    gain, low, _ = comparison["gain_over_best_rival"]
    found = [
        _target("deployed - linear, worst evaluation of all seeds", worst, ">= 0 within the test's error", bound >= 0)
    ]
    if task in GAP_TARGETS:
        share, closed = GAP_TARGETS[task], figures["gap_deployed"]
        found.append(_target("gap closed at the end, median", closed, f">= {share}", closed >= share))
        found += _ratios(comparison)
    if task in GAIN_TASKS:
        ok = gain >= 0.05 and low > 0
        found.append(_target("cheaper than the best linear rival", gain, ">= 0.05, interval above 0", ok))
    if task in FILTERED:
        violations = sum(seed["violations_training"] for seed in ours["seeds"])
        over, share = figures["over_best"], figures["interventions_deployed"]
        found += [
            _target("hard violations in training, all seeds", violations, "0", violations == 0),
            _target("final cost over the best behind the filter", over, "<= 0.02", over <= 0.02),
            _target("inputs of the deployed policy that the filter changes", share, "<= 0.05", share <= 0.05),
        ]
    return found


def _ratios(comparison: dict[str, Any]) -> list[dict[str, Any]]:
    """Steps and cost against the best learner from scratch."""
    found = []
    for key, limit in (("published", 0.33), ("equal_updates", 0.8)):
        part = comparison.get(key)
        if part is None:
            continue
        ratio, paid, peer = part["ratio"], part["regret_ratio"], part["peer"]
        ok = ratio is not None and ratio <= limit
        found.append(_target(f"steps to 95 %, ours / {peer}", ratio, f"<= {limit}", ok))
        if key == "published":
            ok = paid is not None and paid <= 0.33
            found.append(_target(f"cost above optimum, ours / {peer}", paid, "<= 0.33", ok))
    return found


def _target(what: str, figure: Any, target: str, ok: bool) -> dict[str, Any]:
    return {"what": what, "figure": figure, "target": target, "ok": bool(ok)}
