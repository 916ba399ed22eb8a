"""The planner that a training run imitates on its model: made from the command, and what the page says of it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from yannctl.errors import ModelError

from .report import Section
from .training_command import Command, Recipe

if TYPE_CHECKING:
    import gymnasium

    from yannctl.rl import GateEvent, TrainingSettings
    from yannctl.rl.imitation import Teacher

KEPT = 5  # inputs of each plan that the policy is fitted to


def make_teacher(command: Command, environment: "gymnasium.Env", settings: "TrainingSettings") -> "Teacher | None":
    """The planner that is imitated on the model of the environment's plant, as its data sheet says.

    Args:
        command: what was asked for.
        environment: the environment.
        settings: of the run.

    Returns:
        The planner, or None where none was asked for.

    Raises:
        ModelError: if it was asked for where no model is trained on.
    """
    if not command.horizon:
        return None
    from yannctl.controllers import Planner
    from yannctl.rl.task import task_of

    plant = task_of(environment).plant
    wrong = {
        f"{command.env} has no plant model": plant is None,
        "there is no law to start from": not command.law,
        "an asynchronous run does not train on the model": command.rate is not None or command.rig is not None,
        "the published recipe does not train on the model": command.profile == Recipe.published,
        "model.use is 'off'": settings.model.use == "off",
    }
    for reason, so in wrong.items():
        if so:
            other = "give --law or --problem, or " if reason.startswith("there is no law") else ""
            raise ModelError(
                "--horizon", f"asks for a planner to imitate, but {reason}", remedy=f"{other}leave it away"
            )
    assert plant is not None
    return Planner(plant, command.horizon, min(KEPT, command.horizon))


def teacher_section(events: "Sequence[GateEvent]", horizon: int) -> list[Section]:
    """What came of the imitation of a planner, where there was one.

    Args:
        events: all events of the run.
        horizon: of the planner.

    Returns:
        A section of the page, or none.
    """
    rows = [[f"{event.step}", event.decision, event.reason] for event in events if is_imitation(event)]
    if not rows:
        return []
    text = (
        f"A planner that looks {horizon} steps ahead on the model was asked about states that the policy passes in "
        "simulated episodes, and the policy was fitted to its answers; slow updates of the learner followed. It "
        "went on from that only where it did better on the model, and the gate tested it like any other."
    )
    return [Section("A planner on the model", text, ("step", "outcome", "labels, and how well they are met"), rows)]


def is_imitation(event: "GateEvent") -> bool:
    """Whether an event tells of an imitation, not of a test or a rollback.

    Args:
        event: of a run.
    """
    return event.decision in ("imitated", "not imitated")
