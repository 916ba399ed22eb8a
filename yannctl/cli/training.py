"""`yannctl train`: fine-tune a law on a plant behind the gate, or learn from scratch on any environment."""

import json as jsonlib
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from yannctl.errors import ModelError

from .console import Output, gate_lines
from .options import Json
from .training_command import (
    DEFAULT_STEPS,
    Algorithm,
    Command,
    Recipe,
    choose,
    refuse_beside_rig,
    refuse_given,
    settings_changed,
)
from .training_folder import (
    LAW_FILE,
    begin_folder,
    clear_folder,
    make_actor,
    make_critic,
    make_environment,
    published_size,
    read_recorded,
    refuse_used,
)
from .training_teacher import is_imitation, make_teacher

if TYPE_CHECKING:
    import gymnasium

    from yannctl import rl
    from yannctl.rl.imitation import Teacher

CONTROLLER_FILE = "deployed.safetensors"
DEFAULT_ENV = "yannctl/Pendulum-v0"


Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="TEXT",
        help="Change a setting: name=value, e.g. dsact.actor_rate=3e-4 or device=cuda (learn on a GPU); repeat. "
        "Every name is in settings.json of a run folder.",
    ),
]


def train(
    env: Annotated[
        str | None,
        typer.Option(
            "--env",
            metavar="ID",
            help="Environment: a yannctl plant, or any with continuous actions.",
            show_default=DEFAULT_ENV,
        ),
    ] = None,
    law: Annotated[Path | None, typer.Option("--law", help="Law file to start from; none: learn from scratch.")] = None,
    problem: Annotated[
        Path | None, typer.Option("--problem", help="Problem file: its law is solved and taken to start from.")
    ] = None,
    algorithm: Annotated[
        Algorithm | None,
        typer.Option(metavar="NAME", help="dsact, td3 or ddpg (default dsact; ddpg for --recipe published)."),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Steps on the plant, those before a resume included (default 4000)."),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="Same seed, machine and threads: same numbers.", show_default="0"),
    ] = None,
    recipe: Annotated[
        Recipe | None,
        typer.Option(
            "--recipe",
            "--profile",
            metavar="NAME",
            help="recipe: ours, for a plant; fast: any environment; paper: DSAC-T as published; published: YANN-DDPG "
            "as published, with --problem.",
        ),
    ] = None,
    changes: Changes = None,
    rate: Annotated[
        float | None,
        typer.Option(min=0.001, metavar="HZ", help="Asynchronous: a process of its own acts so many times a second."),
    ] = None,
    rig: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="Asynchronous: CONFIG.toml of the bridge, as for `hil train`, or module:function for (rig, judge).",
        ),
    ] = None,
    log: Annotated[
        Path | None, typer.Option("--log", help="Recorded transitions to start from: .csv, .parquet, transitions.bin.")
    ] = None,
    filter: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Certified filter that all inputs pass: auto (where a proof covers the plant), none, a name.",
            show_default="auto",
        ),
    ] = None,
    horizon: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="N",
            help="Before the first step, also imitate a planner (nonlinear MPC) on the plant's model that looks so "
            "many steps ahead; 0: none.",
            show_default="0",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Run folder: logs, checkpoints.", show_default="runs/train")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option("--resume", help="Go on in this run folder; only --steps may be given with it.")
    ] = None,
    report: Annotated[bool, typer.Option(help="End with a page about the run, report.html in its folder.")] = True,
    json: Json = False,
) -> None:
    """Fine-tune a law on the true plant; the deployed policy changes only through the gate."""
    if rig is not None and ":" not in rig:
        from .operation import RIG_RUN, learn

        beside = {"--env": env, "--law": law, "--problem": problem, "--recipe": recipe, "--rate": rate, "--log": log}
        refuse_beside_rig(Path(rig), {**beside, "--filter": filter, "--horizon": horizon, "--resume": resume})
        learn(Path(rig), steps or DEFAULT_STEPS, algorithm or Algorithm.dsact, seed or 0, changes, out or RIG_RUN, json)
        return
    output = Output(json)
    if resume is not None:
        refuse_given({
            "env": env, "law": law, "problem": problem, "algorithm": algorithm, "seed": seed, "recipe": recipe,
            "set": changes, "rate": rate, "rig": rig, "log": log, "filter": filter, "horizon": horizon,
            "out": out,
        })  # fmt: skip
        command, folder = _go_on(resume, steps, output), resume
    else:
        chosen, profile = choose(algorithm, recipe, env or DEFAULT_ENV)
        given = law is not None or problem is not None
        command = Command(
            env or DEFAULT_ENV, given, chosen, steps or DEFAULT_STEPS, seed or 0, profile,
            settings_changed(changes or []), rate, rig, None if log is None else f"recorded{log.suffix}",
            filter or "auto", problem is not None, horizon or 0,
        )  # fmt: skip
        folder = out or Path("runs/train")
        refuse_used(folder)
    environment = make_environment(command.env)
    settings = _settings(command, environment)
    line = _filter_line(command, environment)
    source = folder / command.log if resume is not None and command.log is not None else log
    recorded = None if source is None else read_recorded(source, environment)
    teacher = make_teacher(command, environment, settings)
    if resume is None:
        begin_folder(command, law, problem, log, environment, folder)
    known = recorded.report.lines() if recorded is not None else ()
    output.line("\n".join(said for said in (line, published_size(command, folder), *known) if said))
    try:
        result = _run(command, environment, folder, settings, recorded, teacher, output)
    except KeyboardInterrupt:
        output.line(f"\ninterrupted; go on with: yannctl train --resume {folder}")
        raise
    except ModelError:
        if resume is None:
            clear_folder(command, folder)
        raise
    more = _controller(result, environment, folder, output) if command.law else {}
    more |= _page(result, environment, command, folder, output) if report else {}
    _report(result, folder, output, more)


def _go_on(folder: Path, steps: int | None, output: Output) -> Command:
    """The command of a run that is taken up again, with the steps it is to have now."""
    command = Command.read(folder)
    if steps is None or steps == command.steps:
        return command
    output.line(f"the run goes on to step {steps}, not {command.steps}")
    command = command.lasting(steps)
    command.write(folder)
    return command


def _settings(command: Command, environment: "gymnasium.Env") -> "rl.TrainingSettings":
    """The settings of a run; refuse what does not go together before anything is written."""
    from yannctl.rl.device import device_of
    from yannctl.rl.model_training import model_wanted
    from yannctl.rl.settings import profile as settings_of
    from yannctl.rl.task import task_of

    if (command.rate is not None or command.rig is not None) and command.log is not None:
        raise ModelError("--log", "is not taken by an asynchronous run", remedy="leave out --rate and --rig")
    settings = settings_of(command.profile).changed(command.changes)
    device_of(settings.device)
    model_wanted(settings, command.law, task_of(environment).plant is not None)
    return settings


def _run(
    command: Command,
    environment: "gymnasium.Env",
    folder: Path,
    settings: "rl.TrainingSettings",
    recorded: "rl.RecordedLog | None",
    teacher: "Teacher | None",
    output: Output,
) -> "rl.TrainingResult":
    """Start the run of a folder or go on with it, synchronous or not."""
    from yannctl import PwaLaw, rl

    if command.rate is not None or command.rig is not None:
        return rl.train_asynchronously(
            command.env,
            PwaLaw.load(folder / LAW_FILE) if command.law else None,
            command.algorithm,
            command.steps,
            command.seed,
            folder,
            settings,
            rig=command.rig,
            rate=command.rate or 1.0,
            progress=True,
            filter=command.filter,
        )
    begun, show = (folder / "settings.json").exists(), gate_lines(output)
    if not begun:
        _announce_model(command, environment, settings, output)
    return rl.train(
        make_actor(folder) if command.law else None,
        make_critic(command, folder),
        environment,
        algorithm=command.algorithm,
        steps=command.steps,
        seed=command.seed,
        run_dir=None if begun else folder,
        resume=folder if begun else None,
        settings=settings,
        progress=True,
        on_gate=lambda event, _learning, _deployed: show(event),
        recorded=recorded,
        assurance=command.filter,
        teacher=teacher,
    )


def _filter_line(command: Command, environment: "gymnasium.Env") -> str:
    """Say which certified filter the run is behind, or why none; refuse one that does not cover the plant."""
    from yannctl.rl.safeguard import safeguard_of
    from yannctl.rl.task import task_of

    task = task_of(environment)
    try:
        return safeguard_of(environment, task, command.filter).line()
    except ModelError as error:
        raise ModelError("--filter", error.problem, remedy=error.remedy) from error


def _announce_model(
    command: Command, environment: "gymnasium.Env", settings: "rl.TrainingSettings", output: Output
) -> None:
    """Say that the first minutes go by without a step of the plant, where the run trains on the model first."""
    from yannctl.rl.model_training import model_wanted
    from yannctl.rl.task import task_of

    updates, known = settings.model.pretrain_updates, task_of(environment).plant is not None
    if updates and model_wanted(settings, command.law, known):
        asked = f" and {settings.imitation.states} plans on it to imitate" if command.horizon else ""
        output.line(
            f"first {updates} updates on the plant's model{asked}, which takes minutes; then {command.steps} steps"
        )


def _page(
    result: "rl.TrainingResult", environment: "gymnasium.Env", command: Command, folder: Path, output: Output
) -> dict[str, Any]:
    """Write the page about the run, and give what it found."""
    from .training_page import write_training_page

    path, found = write_training_page(result, environment, asdict(command), folder)
    if found is None:
        return {"report": path}
    mean, low, high = found.gain("tuned")
    before = "law" if command.law else "start"
    if found.unchanged:
        output.line(f"no candidate passed the gate: what is deployed is the {before} the run began with")
    else:
        interval = f"{mean:+.4g} (95 %: {low:+.4g} to {high:+.4g})"
        output.line(f"deployed - {before} over {len(found.starts)} fresh common starts: {interval}")
    gain = {"gain": mean, "gain_interval": [low, high], "gap_closed": found.gap_closed()}
    return {"report": path, **gain, "deployed_interventions": float(found.rows["tuned"].interventions.mean())}


def _controller(
    result: "rl.TrainingResult", environment: "gymnasium.Env", folder: Path, output: Output
) -> dict[str, Any]:
    """Write the deployed policy as a controller file, with its certificate where there is one."""
    from yannctl import export
    from yannctl.assurance import certificate_bytes

    path, guard = folder / CONTROLLER_FILE, result.safeguard
    plant: Any = environment.unwrapped
    try:
        export.save_policy(path, result.deployed, plant.plant.nominal, metadata={"filter": guard.line()})
    except ModelError as error:
        output.line(f"deployed policy not written as a controller: {error}")
        return {"controller": None}
    if guard.certificate is not None:
        export.attach_certificate(path, certificate_bytes(guard.certificate))
    carried = "" if guard.filter is None else ", its certificate in it" if guard.certificate is not None else (
        f"; it must run behind the filter {guard.name}, which has no certificate file"
    )  # fmt: skip
    output.line(f"deployed policy: {path}{carried}")
    return {"controller": path, "certified": guard.certificate is not None}


def _report(result: "rl.TrainingResult", out: Path, output: Output, more: dict[str, Any]) -> None:
    """Say what came out."""
    last = result.history[-1] if result.history else {"deployed_return": None, "learning_return": None}
    facts = jsonlib.loads((out / "settings.json").read_text())["facts"]
    if result.history:
        output.line(
            f"deployed policy ({facts['deployed']}): return {last['deployed_return']:.4g} "
            f"(learning {last['learning_return']:.4g})"
        )
    else:
        output.line("no comparison was made: the first comes after the warm-up; the deployed policy is the first one")
    taught = [event for event in result.gate_events if is_imitation(event)]
    for event in taught:
        output.line(f"step {event.step}, the planner was {event.decision}: {event.reason}")
    output.line(f"logs and checkpoint in {out}; look at them with: tensorboard --logdir {out}")
    if "report" in more:
        output.line(f"report: {more['report']}")
    output.result(
        {
            "deployed_return": last["deployed_return"],
            "learning_return": last["learning_return"],
            "deployed": facts["deployed"],
            "filter": result.safeguard.name,
            "behaviour_violations": last.get("behaviour_violations"),
            "interventions": last.get("interventions"),
            "promotions": sum(event.decision == "promoted" for event in result.gate_events),
            "imitations": [event.decision for event in taught],
            "run": out,
            **more,
        }
    )
