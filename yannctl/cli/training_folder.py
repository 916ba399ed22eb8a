"""What the folder of a training run is given before it starts: law, problem, recorded transitions, the command."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from yannctl.errors import ModelError, YannctlError
from yannctl.files import write_whole

from .training_command import COMMAND_FILE, Command, Recipe

if TYPE_CHECKING:
    import gymnasium

    from yannctl import PwaLaw, rl

LAW_FILE, PROBLEM_FILE = "law.safetensors", "problem.toml"
BYTES_A_WEIGHT, BYTES_BEFORE = 250, 4e8  # of the published form: copies in both precisions, optimiser, checkpoint
MUCH = 1e9  # bytes of memory that are worth a warning


def make_environment(env: str) -> "gymnasium.Env":
    """Make the environment, or say in one line why not.

    Args:
        env: its id.

    Returns:
        The environment.

    Raises:
        ModelError: for an unknown one, or one that cannot be made.
    """
    import gymnasium

    if env not in gymnasium.registry:
        known = ", ".join(sorted(name for name in gymnasium.registry if name.startswith("yannctl/")))
        raise ModelError("--env", f"no environment is called {env!r}", remedy=f"ours are {known}")
    try:
        return gymnasium.make(env)
    except (gymnasium.error.Error, ImportError) as error:
        raise ModelError("--env", f"{env} cannot be made: {error}") from error


def refuse_used(folder: Path) -> None:
    """Refuse a folder that holds a run.

    Args:
        folder: the folder.

    Raises:
        ModelError: if it does.
    """
    if (folder / "progress.csv").exists() or (folder / COMMAND_FILE).exists():
        remedy = f"yannctl train --resume {folder} continues it, or choose another"
        raise ModelError("--out", f"{folder} already holds a run", remedy=remedy)


def begin_folder(
    command: Command,
    law: Path | None,
    problem: Path | None,
    log: Path | None,
    environment: "gymnasium.Env",
    folder: Path,
) -> None:
    """Check the law and keep in the folder what a resume needs; nothing is written before all is checked.

    Args:
        command: what was asked for.
        law: law file, or None.
        problem: problem file, or None.
        log: recorded transitions, or None.
        environment: the environment.
        folder: the run's folder.

    Raises:
        ModelError: for a law that does not fit, or a recipe without what it needs.
    """
    from yannctl import PwaLaw, condense, solve_mpqp

    from .problem_file import read_problem

    solved = None if law is None else PwaLaw.load(law)
    if command.profile == Recipe.published and problem is None:
        raise ModelError("--problem", "the published recipe needs weights for its critic", remedy="give a problem file")
    if problem is not None and solved is None:
        solved = solve_mpqp(condense(read_problem(problem)), progress=True)
    if solved is not None:
        _law_for(solved, environment, command.env)
        if law is not None and problem is None:
            write_whole(folder / LAW_FILE, law.read_bytes())
        else:
            solved.save(folder / LAW_FILE)
    if problem is not None:
        write_whole(folder / PROBLEM_FILE, problem.read_bytes())
    if log is not None and command.log is not None:
        write_whole(folder / command.log, log.read_bytes())
    command.write(folder)


def clear_folder(command: Command, folder: Path) -> None:
    """Take back what `begin_folder` wrote for a run that never began, so that the next try finds the folder free.

    Args:
        command: what was asked for.
        folder: the run's folder.
    """
    if (folder / "settings.json").exists():
        return
    for name in (COMMAND_FILE, LAW_FILE, PROBLEM_FILE, command.log, "run.lock"):
        if name is not None:
            (folder / name).unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def read_recorded(path: Path, environment: "gymnasium.Env") -> "rl.RecordedLog":
    """Read recorded transitions, or say in one line which file cannot be used.

    Args:
        path: the file.
        environment: the environment.

    Returns:
        The transitions.

    Raises:
        ModelError: for a file that is missing, is no log, or does not fit the environment.
    """
    from yannctl import rl
    from yannctl.rl.task import task_of

    task = task_of(environment)
    names = (
        ([f"x{j}" for j in range(task.nx)], [f"u{j}" for j in range(task.nu)]) if task.plant is None else (None, None)
    )
    try:
        recorded = rl.load_log(path, task.plant, *names)
    except (OSError, ValueError, YannctlError) as error:
        said = (isinstance(error, OSError) and error.strerror) or f"{error}"
        if isinstance(error, ModelError):
            place = "" if error.index is None else f"row {error.index} "
            said = place + error.problem.replace(f"{path} ", "", 1) + (f"; {error.remedy}" if error.remedy else "")
        raise ModelError("--log", f"{path}: {said}") from error
    if recorded.x.shape[1] != task.nx or recorded.u.shape[1] != task.nu:
        got = f"{recorded.x.shape[1]} states and {recorded.u.shape[1]} inputs"
        raise ModelError("--log", f"{path} holds {got}, the environment has {task.nx} and {task.nu}")
    return recorded


def make_actor(folder: Path) -> Any:
    """The law of the folder as a network.

    Args:
        folder: the run's folder.

    Returns:
        The exact actor.
    """
    from yannctl import PwaLaw
    from yannctl.yann import encode_actor

    return encode_actor(PwaLaw.load(folder / LAW_FILE), form="gather")


def make_critic(command: Command, folder: Path) -> Any:
    """The LQR critic of the published recipe; the others take none by default.

    Args:
        command: what was asked for.
        folder: the run's folder.

    Returns:
        The critic, or None.
    """
    if command.profile != Recipe.published:
        return None
    from yannctl.yann import encode_critic

    from .problem_file import read_problem

    return encode_critic(read_problem(folder / PROBLEM_FILE), kind="lqr")


def published_size(command: Command, folder: Path) -> str:
    """What to know before a published network is made: its second layer is dense across the regions, so p^2 in size.

    Args:
        command: what was asked for.
        folder: the run's folder.

    Returns:
        A line, or "" where it is another recipe or the network small.
    """
    if command.profile != Recipe.published:
        return ""
    from yannctl import PwaLaw
    from yannctl.rl.construction import NODES

    law = PwaLaw.load(folder / LAW_FILE)
    nodes = law.n_regions * NODES
    weights = nodes * (law.ntheta + 1) + nodes * nodes * law.n_out
    memory = BYTES_BEFORE + BYTES_A_WEIGHT * weights
    if memory < MUCH:
        return ""
    return (
        f"the published network of {law.n_regions} regions has {weights / 1e6:.1f} million weights, dense across the "
        f"regions: about {memory / 1e9:.1f} GB of memory"
    )


def _law_for(law: "PwaLaw", environment: "gymnasium.Env", name: str) -> None:
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
