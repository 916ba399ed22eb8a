"""What the demo concludes: the summary with its verdicts, the figures, and the page that shows them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from yannctl import export, hil, rl
from yannctl.controllers import ExplicitMpc
from yannctl.pwa import plots

from . import figures
from .checks import LawCheck
from .intervals import mean_interval
from .pendulum import Model, Networks, Plan
from .pendulum_learning import HANGING, Gates, Rivals, as_controller, trace_of
from .report import Card, Picture, Section, write_report


@dataclass(frozen=True)
class Results:
    """Everything the stages found.

    Args:
        plan: sizes and seed.
        model: plant, problem and law.
        law_check: comparison with the online QP.
        open_facets: facets of the law with nothing beyond.
        networks: exact networks and their errors.
        training: result of the fine-tuning.
        gates: returns at each gate.
        rivals: DDPG from scratch and the optimum.
        starts: common starts, shape (n, nx).
        code: exported C.
        c_check: its comparison with Python.
        loop: report of the closed loop on the simulated rig, in lockstep.
        paced: the same in real time.
    """

    plan: Plan
    model: Model
    law_check: LawCheck
    open_facets: int
    networks: Networks
    training: rl.TrainingResult
    gates: Gates
    rivals: Rivals
    starts: np.ndarray
    code: export.CExport
    c_check: export.CCheck
    loop: hil.LoopReport
    paced: hil.LoopReport


def summarise(found: Results) -> dict:
    """Put every figure of the run into one dict, with a verdict for each claim.

    gap_closed = (J_tuned − J_linear) / (J_optimum − J_linear), J the mean return over the common starts.

    Args:
        found: results of the stages.

    Returns:
        The summary as plain values.
    """
    linear, tuned = found.gates.deployed[0], found.gates.deployed[-1]
    means = {
        "linear": float(linear.mean()),
        "scratch_ddpg": float(found.rivals.scratch.mean()),
        "tuned": float(tuned.mean()),
        "optimum": float(found.rivals.optimum.mean()),
    }
    worst = min(
        (mean_interval(row - linear) for row in found.gates.deployed[list(found.gates.promotions)]),
        default=(0.0, 0.0, 0.0),
    )
    skipped = found.c_check.skipped
    summary = {
        "seed": found.plan.seed,
        "steps": found.plan.steps,
        "starts": len(found.starts),
        "n_regions": found.model.law.n_regions,
        "n_laws": found.model.law.n_laws,
        "coverage": found.law_check.coverage,
        "coverage_samples": found.law_check.n_points,
        "audit_open_facets": found.open_facets,
        "law_max_error": found.law_check.max_error,
        "actor_max_error": found.networks.actor_error["gather"],
        "five_layer_max_error": found.networks.actor_error["five_layer"],
        "critic_max_rel_error": found.networks.critic_error,
        "initial_policy_equals_law": found.networks.equal_at_start,
        "return": means,
        "scratch_ddpg_gated_return": float(found.rivals.scratch_gated.mean()),
        "gap_closed": (means["tuned"] - means["linear"]) / (means["optimum"] - means["linear"]),
        "deployed_worst_minus_linear": worst[0],
        "deployed_worst_minus_linear_interval": list(worst[1:]),
        "tuned_minus_scratch_interval": list(mean_interval(tuned - found.rivals.scratch)[1:]),
        "mean_change": _mean_change(found),
        "promotions": [int(found.gates.steps[i]) for i in found.gates.promotions],
        "gate_model_steps": sum(event.gate_model_steps for event in found.training.gate_events),
        "gate_plant_steps": sum(event.gate_plant_steps for event in found.training.gate_events),
        "c_vs_python_max_abs": None if skipped else found.c_check.max_abs,
        "c_stage": "skipped: " + found.c_check.reason if skipped else found.c_check.compiler,
        "loop_final_state": found.loop.state.name,
        "loop_final_x": found.loop.x[-1].tolist(),
    }
    return {**summary, "verdicts": _verdicts(summary, skipped)}


def _mean_change(found: Results) -> list[float]:
    """Mean |tuned − law| as a share of the input range: over the common starts, and over a box around upright."""
    law, plant = ExplicitMpc(found.model.law, outside="nearest"), found.model.plant
    tuned = as_controller(found.training.deployed, plant)
    near = np.random.default_rng(found.plan.seed).uniform([-0.2, -0.5], [0.2, 0.5], (2000, 2))
    span = plant.u_max - plant.u_min
    return [float((np.abs(tuned(x) - law(x)) / span).mean()) for x in (found.starts, near)]


def _verdicts(summary: dict, c_skipped: bool) -> dict[str, bool | None]:
    full = summary["steps"] >= Plan().steps
    return {
        "no hole in the law": summary["coverage"] == 1.0 and summary["audit_open_facets"] == 0,
        "law = online QP (1e-8)": summary["law_max_error"] <= 1e-8,
        "network = law (1e-9)": max(summary["actor_max_error"], summary["five_layer_max_error"]) <= 1e-9,
        "critic = QP value (1e-7)": summary["critic_max_rel_error"] <= 1e-7,
        "policy starts as the law, bit by bit": summary["initial_policy_equals_law"],
        "deployed never below the linear law": bool(summary["deployed_worst_minus_linear_interval"][1] >= 0.0),
        "gap to the optimum closed by 95 %": bool(summary["gap_closed"] >= 0.95) if full else None,
        "C = Python (bit by bit)": None if c_skipped else summary["c_vs_python_max_abs"] == 0.0,
    }


def write_page(found: Results, summary: dict, out: Path) -> None:
    """Draw the figures and write report.html beside them.

    Args:
        found: results of the stages.
        summary: from `summarise`.
        out: folder.
    """
    pictures = _draw(found, summary, out)
    rows = [[name, "yes" if ok else "not judged" if ok is None else "NO"] for name, ok in summary["verdicts"].items()]
    sections = [
        Section("What was checked", columns=("claim", "holds"), rows=rows),
        *_law_sections(summary, pictures),
        _return_section(summary, pictures),
        _gate_section(found),
        Section("Code and loop", _code_text(found, summary)),
    ]
    lead = (
        "From a pendulum model to a law, exact networks, a tuned policy, C code and a closed loop; "
        f"seed {summary['seed']}, every figure measured in this run."
    )
    write_report(out / "report.html", "Pendulum: the whole chain", lead, _cards(summary), sections)


def _cards(summary: dict) -> list[Card]:
    means, c_error = summary["return"], summary["c_vs_python_max_abs"]
    closed = summary["verdicts"]["gap to the optimum closed by 95 %"]
    return [
        Card(f"{summary['n_regions']}", f"critical regions, {summary['audit_open_facets']} open facets"),
        Card(f"{summary['actor_max_error']:.0e}", "largest difference network − law"),
        Card(f"{100 * summary['gap_closed']:.1f} %", "of the gap to the optimum closed", "good" if closed else ""),
        Card(f"{means['linear']:.0f} → {means['tuned']:.0f}", "mean return, linear law → tuned"),
        Card(
            "skipped" if c_error is None else f"{c_error:.0e}",
            "largest difference C − Python",
            "skip" if c_error is None else "good" if c_error == 0.0 else "bad",
        ),
    ]


def _law_sections(summary: dict, pictures: dict[str, Path]) -> list[Section]:
    far, near = summary["mean_change"]
    return [
        Section(
            "The law",
            f"{summary['n_regions']} critical regions with {summary['n_laws']} distinct laws hold "
            f"{100 * summary['coverage']:.4g} % of {summary['coverage_samples']:,} feasible samples, with "
            f"{summary['audit_open_facets']} open facets; the largest difference from an online QP is "
            f"{summary['law_max_error']:.0e} of the input range.",
            pictures=[Picture(pictures["regions"], "Critical regions of the exact law, with the tuned closed loop.")],
        ),
        Section(
            "What learning changed",
            "Before training the policy is the exact law. Over the starts all around learning changes the input by "
            f"{far:.2f} of its range on average, within 0.2 rad and 0.5 rad/s of upright by {near:.2f}.",
            pictures=[
                Picture(pictures["surfaces"], "The input over all states, before and after."),
                Picture(pictures["learning"], "Mean return over common starts; bands hold the middle half of them."),
            ],
        ),
    ]


def _return_section(summary: dict, pictures: dict[str, Path]) -> Section:
    means, steps = summary["return"], summary["steps"]
    rows = [
        ["linear law (explicit MPC)", means["linear"]],
        [f"DDPG from scratch, {steps} steps", means["scratch_ddpg"]],
        ["the same behind the gate", summary["scratch_ddpg_gated_return"]],
        [f"tuned law, {steps} steps, deployed through the gate", means["tuned"]],
        ["optimum (dynamic programming)", means["optimum"]],
    ]
    return Section(
        "Returns over one episode",
        f"Mean over {summary['starts']} starts all around, the same for all. The gate tests on the nominal "
        f"model ({summary['gate_model_steps']:,} simulated steps) and costs no step of the plant. "
        + _beside_scratch(*summary["tuned_minus_scratch_interval"]),
        columns=("policy", "mean return"),
        rows=[[name, f"{value:.1f}"] for name, value in rows],
        pictures=[
            Picture(pictures["returns"], "How the returns are spread over the starts."),
            Picture(pictures["closed_loop"], "Closed loops from hanging."),
        ],
    )


def _gate_section(found: Results) -> Section:
    rows = []
    for event in found.training.gate_events:
        numbers = [f"{value:.1f}" for value in (event.deployed_return, event.candidate_return)]
        rows.append([str(event.step), event.decision, *numbers, f"{event.lower_bound:+.1f}"])
    return Section(
        "Decisions of the gate",
        "A policy is deployed only if the lower confidence bound of its gain on fresh starts is above zero.",
        columns=("step", "decision", "deployed", "candidate", "bound of the gain"),
        rows=rows,
    )


def _beside_scratch(low: float, high: float) -> str:
    """Say honestly what law and model were worth at the end of the run: one run of each, and DDPG has no model."""
    text = (
        f"At the end, tuned minus DDPG from scratch is {low:+.1f} to {high:+.1f} (95 % over the starts; one run of "
        "each, with another seed DDPG may end elsewhere)"
    )
    if low > 0.0:
        return text + ": the tuned law, which trained on the model too, ends better here."
    if high < 0.0:
        return text + ": DDPG from scratch ends better here; the law gives the start and the fallback."
    return text + ": no difference at the end can be claimed; the law gives the start and the fallback."


def _code_text(found: Results, summary: dict) -> str:
    if found.c_check.skipped:
        code = f"The C stage was skipped: {found.c_check.reason}. "
    else:
        code = (
            f"The law as C99 ({found.code.flash_bytes:,} B of constants, at most {found.code.operation_bound:,} "
            f"operations a call) was compiled with {found.c_check.compiler} and differs from Python by at most "
            f"{summary['c_vs_python_max_abs']:.0e} on {found.c_check.n_points:,} points. "
        )
    lateness = found.paced.summary()["lateness_us"]
    x = ", ".join(f"{value:+.3f}" for value in summary["loop_final_x"])
    return code + (
        f"The fixed-rate loop drove a simulated rig from hanging for {found.loop.ticks} ticks and ended at ({x}) "
        f"off upright, in state {summary['loop_final_state']}. In real time, {found.paced.ticks} ticks started at most "
        f"{lateness['max'] / 1000:.1f} ms late (median {lateness['p50'] / 1000:.2f} ms), with "
        f"{found.paced.counts['skipped_periods']} periods skipped."
    )


def _draw(found: Results, summary: dict, out: Path) -> dict[str, Path]:
    plant, law = found.model.plant, found.model.law
    linear, tuned = ExplicitMpc(law, outside="nearest"), as_controller(found.training.deployed, plant)
    steps = plant.episode_steps
    tuned_trace = trace_of(plant, tuned, HANGING, steps)
    traces = {
        "linear": trace_of(plant, linear, HANGING, steps),
        "scratch DDPG": found.rivals.scratch_trace,
        "tuned": tuned_trace,
        "optimum": found.rivals.optimum_trace,
    }
    means = summary["return"]
    levels = {name: means[key] for name, key in (("linear", "linear"), ("optimum", "optimum"))}
    gates = found.gates
    names = [f"{name} [{unit}]" for name, unit in zip(plant.x_names, plant.x_units, strict=True)]
    u_name = f"{plant.u_names[0]} [{plant.u_units[0]}]"
    grid = tuple(np.linspace(plant.x_min[i], plant.x_max[i], 181) for i in range(2))
    points = np.stack(np.meshgrid(*grid), axis=-1)
    regions, _ = plots.plot_regions(law, trajectory=figures.broken_at_jumps(tuned_trace.x, plant.angles))
    returns = {
        "linear": gates.deployed[0],
        "scratch DDPG": found.rivals.scratch,
        "tuned": gates.deployed[-1],
        "optimum": found.rivals.optimum,
    }
    made = {
        "regions": regions,
        "surfaces": figures.surfaces(grid, linear(points)[..., 0], tuned(points)[..., 0], names, u_name),
        "learning": figures.learning_curve(gates.steps, gates.learning, gates.deployed, levels, gates.promotions),
        "returns": figures.returns_by_policy(returns),
        "closed_loop": figures.closed_loop(
            traces, plant.x_names, plant.x_units, plant.angles, u_name, float(plant.u_max[0])
        ),
    }
    paths = {name: out / f"{name}.png" for name in made}
    for name, figure in made.items():
        figures.save_figure(figure, paths[name])
    return paths
