"""`yannctl train`: fine-tune a law on a plant, behind the gate, or learn from scratch."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from yannctl.errors import ModelError

from .console import Output, gate_lines
from .options import Json, Seed

if TYPE_CHECKING:
    import gymnasium

    from yannctl import PwaLaw, rl


class Algorithm(StrEnum):
    """Learning algorithms by name."""

    dsact = "dsact"
    ddpg = "ddpg"


def train(
    env: Annotated[str, typer.Option("--env", help="Environment id of a yannctl plant.")] = "yannctl/Pendulum-v0",
    law: Annotated[Path | None, typer.Option("--law", help="Law file to start from; none: learn from scratch.")] = None,
    algorithm: Annotated[Algorithm, typer.Option(help="Learning algorithm.")] = Algorithm.dsact,
    steps: Annotated[int, typer.Option(min=1, help="Steps on the plant.")] = 4000,
    seed: Seed = 0,
    out: Annotated[Path, typer.Option("--out", "-o", help="Run folder: logs, checkpoints.")] = Path("runs/train"),
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run folder's last checkpoint.")] = False,
    json: Json = False,
) -> None:
    """Fine-tune a law on the true plant; the deployed policy changes only through the gate."""
    import gymnasium

    from yannctl import PwaLaw, rl
    from yannctl.yann import encode_actor

    output = Output(json)
    if env not in gymnasium.registry or not env.startswith("yannctl/"):
        known = ", ".join(sorted(name for name in gymnasium.registry if name.startswith("yannctl/")))
        raise ModelError("--env", f"no environment of ours is called {env!r}", remedy=f"choose from {known}")
    if not resume and (out / "progress.csv").exists():
        raise ModelError("--out", f"{out} already holds a run", remedy="add --resume to continue it, or choose another")
    environment = gymnasium.make(env)
    actor = None if law is None else encode_actor(_law_for(PwaLaw.load(law), environment, env), form="gather")
    show = gate_lines(output)
    try:
        result = rl.train(
            actor,
            None,
            environment,
            algorithm=algorithm.value,
            steps=steps,
            seed=seed,
            run_dir=None if resume else out,
            resume=out if resume else None,
            progress=True,
            on_gate=lambda event, _learning, _deployed: show(event),
        )
    except KeyboardInterrupt:
        output.line(f"\ninterrupted; if {out} has a checkpoint, the same command with --resume goes on from it")
        raise
    _report(result, out, output)


def _law_for(law: "PwaLaw", environment: "gymnasium.Env", name: str) -> "PwaLaw":
    """Refuse a law that was made for another plant."""
    plant = getattr(environment.unwrapped, "plant", None)
    if plant is None:
        raise ModelError("--env", f"{name} has no plant model")
    names = law.theta_names or ()
    if law.n_out != plant.nu or names != tuple(plant.x_names):
        made = f"made for ({', '.join(names)}) with {law.n_out} output(s)"
        wanted = f"{name} has ({', '.join(plant.x_names)}) and {plant.nu} input(s)"
        remedy = f'solve a problem file with plant = "{type(plant).__name__}"'
        raise ModelError("--law", f"{made}, but {wanted}", remedy=remedy)
    return law


def _report(result: "rl.TrainingResult", out: Path, output: Output) -> None:
    """Say what came out."""
    last = result.history[-1] if result.history else {"deployed_return": None, "learning_return": None}
    if result.history:
        output.line(f"deployed policy: return {last['deployed_return']:.1f} (learning {last['learning_return']:.1f})")
    else:
        output.line(
            "no gate test was made: the first comes after the warm-up of 400 steps; the deployed policy is the law"
        )
    output.line(f"logs and checkpoint in {out}; look at them with: tensorboard --logdir {out}")
    output.result(
        {
            "deployed_return": last["deployed_return"],
            "learning_return": last["learning_return"],
            "promotions": sum(event.decision == "promoted" for event in result.gate_events),
            "run": out,
        }
    )
