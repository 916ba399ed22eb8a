"""Rows of the table of faults, and the rules that decide them."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from yannctl.errors import NotInstalledError
from yannctl.plant import AbstractPlant

from .chaos import LASTING
from .chaos_hosts import BY_ITSELF, CLOCK_JUMP
from .messages import DeviceState
from .report import LoopReport

PERIOD, HOLD, START = 0.05, 8, 20


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Args:
        link: kind of link.
        fault: what went wrong.
        spoilt: messages touched.
        obeyed: commands the device obeyed.
        ticks_to_safe: periods from the last obeyed command to the safe action.
        ending: how the host's loop ended.
        passed: whether every rule held.
        why: the rule that did not.
    """

    link: str
    fault: str
    spoilt: int
    obeyed: int
    ticks_to_safe: int
    ending: str
    passed: bool
    why: str


def not_installed(link: str, fault: str, error: NotInstalledError) -> Case:
    """Give the row of a case that could not be run.

    Args:
        link: kind of link.
        fault: what was to go wrong.
        error: what is missing.

    Returns:
        The case.
    """
    return Case(link, fault, 0, 0, -1, "not installed", True, str(error))


def inputs_of(report: LoopReport) -> set[tuple[float, ...]]:
    """Give the inputs a loop has sent, as they travel.

    Args:
        report: the loop's.

    Returns:
        One tuple an input.
    """
    return {tuple(row) for row in np.asarray(report.u_applied, np.float32).tolist()}


def _all_sent(u: np.ndarray, sent: set[tuple[float, ...]]) -> bool:
    """Whether every input of a log is one that was sent, or the safe action 0, to the nine digits of the log."""
    known = np.array([*sent, (0.0,) * u.shape[1]])
    distance = np.abs(u[:, None, :] - known[None]).max(axis=2).min(axis=1)
    return bool(np.all(distance <= 1e-6))


def _expired_unsafe(instants: np.ndarray) -> int:
    """Ticks without the safe action that began when the last command had expired.

    Args:
        instants: ends of the ticks from the last command obeyed to the last one without the safe action (n,) [ns].
    """
    return int(np.count_nonzero(instants[:-1] - instants[0] >= HOLD * PERIOD * 1e9))  # one begins where one ended


def judge(
    link: str,
    fault: str,
    spoilt: int,
    ending: str,
    sent: set[tuple[float, ...]] | None,
    rows: np.ndarray,
    plant: AbstractPlant,
) -> Case:
    """Hold the device's log against the rules.

    Args:
        link: kind of link.
        fault: what went wrong.
        spoilt: messages touched.
        ending: how the host's loop ended.
        sent: inputs that the host has sent; None where it is not known.
        rows: of the device's log.
        plant: its plant.

    Returns:
        The case.
    """
    u, state = rows[:, -plant.nu :], rows[:, 1]
    obeyed, last = int(rows[-1, 2] - rows[0, 2]), int(np.argmax(rows[:, 2] == rows[-1, 2]))
    safe = np.flatnonzero((state == DeviceState.SAFE) & (np.arange(len(rows)) >= last))
    ticks = int(safe[0] - last) if len(safe) else -1
    G, h = plant.input_rows or (np.zeros((0, plant.nu)), np.zeros(0))
    inside = (u >= plant.u_min) & (u <= plant.u_max)
    rules = {
        "no message was spoilt": spoilt > 0,
        "the device never obeyed": obeyed > 0,
        "the input left its limits": bool(np.all(inside) and np.all(u @ G.T <= h + 1e-6)),
        "the device did not end in its safe action": ticks >= 0 and bool(np.all(u[safe] == 0)),
        "the safe action came too late": ticks <= HOLD + 1
        or (ticks > 0 and _expired_unsafe(rows[last : safe[0], 0]) == 0),
        "an input was applied that was never sent": sent is None or _all_sent(u, sent),
        "the loop went on over a dead link": fault not in LASTING or ending != "ticks done",
        "the wall clock mattered": fault != CLOCK_JUMP or (spoilt >= START and ending != BY_ITSELF),
    }
    why = next((rule for rule, holds in rules.items() if not holds), "")
    return Case(link, fault, spoilt, obeyed, ticks, ending, not why, why)


def as_rows(cases: list[Case]) -> list[dict[str, Any]]:
    """Give the cases as plain data.

    Args:
        cases: of `run_matrix`.

    Returns:
        One dictionary a case.
    """
    return [asdict(case) for case in cases]
