"""What `yannctl train` was asked for, and how its folder keeps that."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from yannctl.errors import ModelError
from yannctl.files import write_whole

COMMAND_FILE = "command.json"
DEFAULT_STEPS = 4000


class Algorithm(StrEnum):
    """Learning algorithms by name."""

    dsact = "dsact"
    td3 = "td3"
    ddpg = "ddpg"


class Recipe(StrEnum):
    """Sets of settings by name."""

    recipe = "recipe"
    fast = "fast"
    paper = "paper"
    published = "published"


@dataclass(frozen=True)
class Command:
    """What a run was started with, kept in its folder so that `--resume` needs nothing else.

    Args:
        env: environment id.
        law: whether the folder holds a law.
        algorithm: its name.
        steps: environment steps.
        seed: seed.
        profile: name of the settings.
        changes: settings changed from it.
        rate: ticks a second of an asynchronous run; None: synchronous.
        rig: "module:function" of an asynchronous run's rig; None: the environment.
        log: name of the file with recorded transitions in the folder, or None.
        filter: "auto", "none" or the name of a certified loop.
        problem: whether the folder holds a problem file, from which the LQR critic is made.
        horizon: of the planner that is imitated on the model; 0: none.
    """

    env: str
    law: bool
    algorithm: str
    steps: int
    seed: int
    profile: str
    changes: dict[str, Any]
    rate: float | None = None
    rig: str | None = None
    log: str | None = None
    filter: str = "auto"
    problem: bool = False
    horizon: int = 0

    def write(self, folder: Path) -> None:
        """Keep it in the run's folder.

        Args:
            folder: the folder.
        """
        write_whole(folder / COMMAND_FILE, (json.dumps(asdict(self), indent=1) + "\n").encode())

    def lasting(self, steps: int) -> "Command":
        """The same command with another number of steps.

        Args:
            steps: environment steps.

        Returns:
            The command.
        """
        return replace(self, steps=steps)

    @classmethod
    def read(cls, folder: Path) -> "Command":
        """Read it back.

        Args:
            folder: the run's folder.

        Returns:
            The command.

        Raises:
            ModelError: if it is no folder of a run.
        """
        path = folder / COMMAND_FILE
        if not path.is_file():
            missing = f"holds no {COMMAND_FILE}" if folder.is_dir() else "is no folder"
            raise ModelError("--resume", f"{folder} {missing}", remedy="give the --out of an earlier yannctl train")
        try:
            return cls(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise ModelError("--resume", f"{path} is damaged: {error}", remedy="restore it from a copy") from error


def refuse_given(options: Mapping[str, Any]) -> None:
    """Refuse options that a run which goes on cannot change.

    Args:
        options: value by name, None where the option was not given.

    Raises:
        ModelError: naming every option that was given all the same.
    """
    named = [f"--{name}" for name, value in options.items() if value is not None]
    if named:
        does = "does" if len(named) == 1 else "do"
        remedy = f"a run goes on with what it was started with ({COMMAND_FILE}); only --steps may change"
        raise ModelError("--resume", f"{', '.join(named)} {does} not go with it", remedy=remedy)


def choose(algorithm: Algorithm | None, recipe: Recipe | None, env: str) -> tuple[str, str]:
    """Choose algorithm and recipe where they were not named.

    Args:
        algorithm: as named, or None.
        recipe: as named, or None.
        env: environment id.

    Returns:
        Names of both.

    Raises:
        ModelError: a published recipe with another algorithm than its own.
    """
    chosen = recipe or (Recipe.recipe if env.startswith("yannctl/") else Recipe.fast)
    wanted = Algorithm.ddpg if chosen is Recipe.published else Algorithm.dsact
    if chosen is Recipe.published and algorithm not in (None, wanted):
        raise ModelError("--algorithm", f"the published recipe is DDPG, got {algorithm}", remedy="leave it away")
    return (algorithm or wanted).value, chosen.value


def settings_changed(texts: Sequence[str]) -> dict[str, Any]:
    """Read every name=value.

    Args:
        texts: as typed.

    Returns:
        Values by name.
    """
    return dict(parse_setting(text) for text in texts)


def parse_setting(text: str) -> tuple[str, Any]:
    """Read name=value.

    Args:
        text: as typed; the value is JSON, or a word.

    Returns:
        Name and value.
    """
    name, found, value = text.partition("=")
    if not found:
        raise ModelError("--set", f"got {text!r}", remedy="write name=value")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def refuse_beside_rig(config: Path, beside: Mapping[str, Any]) -> None:
    """Refuse what the configuration of the bridge says itself, or what a run through it has no use for.

    Args:
        config: what was given as the rig.
        beside: values of further options by name; None where one was not given.

    Raises:
        ModelError: no configuration, or an option beside it.
    """
    if config.suffix != ".toml":
        remedy = "give CONFIG.toml, see docs/bridge.md, or module:function"
        raise ModelError("--rig", f"got {str(config)!r}", remedy=remedy)
    named = [option for option, value in beside.items() if value is not None]
    if named:
        remedy = f"{config} names plant, law, filter and link; the same --out goes on with a run"
        raise ModelError(named[0], "is not taken with a rig behind the bridge", remedy=remedy)
