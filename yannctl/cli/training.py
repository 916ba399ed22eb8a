"""`yannctl train`: fine-tune a law on a plant, behind the gate, or learn from scratch."""

import math
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from yannctl.errors import ModelError

from .console import Output
from .options import Json, Seed


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
    actor = None if law is None else encode_actor(PwaLaw.load(law), form="gather")
    result = rl.train(
        actor,
        None,
        gymnasium.make(env),
        algorithm=algorithm.value,
        steps=steps,
        seed=seed,
        run_dir=None if resume else out,
        resume=out if resume else None,
        progress=True,
    )
    last = result.history[-1] if result.history else {"deployed_return": math.nan, "learning_return": math.nan}
    output.line(f"deployed policy: return {last['deployed_return']:.1f} (learning {last['learning_return']:.1f})")
    output.line(f"logs and checkpoints in {out}; look at them with: tensorboard --logdir {out}")
    output.result(
        {
            "deployed_return": last["deployed_return"],
            "learning_return": last["learning_return"],
            "promotions": sum(event.decision == "promoted" for event in result.gate_events),
            "run": out,
        }
    )
