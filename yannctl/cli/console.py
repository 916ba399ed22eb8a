"""What a command prints: text for people, or one JSON object last on standard output."""

import json
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console

from .text_table import text_table, wrapped

WIDEST = 120  # characters of a table, however wide the terminal is


@dataclass(frozen=True)
class Output:
    """The screen of one command.

    Args:
        as_json: print one JSON object last on standard output and send all other text to standard error.
    """

    as_json: bool

    @property
    def console(self) -> Console:
        """Where text for people goes."""
        return Console(stderr=self.as_json, highlight=False, soft_wrap=True)

    def line(self, text: str) -> None:
        """Print one line for people.

        Args:
            text: the line; square brackets are printed as they are.
        """
        self.console.print(text, markup=False)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], legend: str = "") -> None:
        """Print a table for people that fits the terminal, 80 characters where there is none.

        Args:
            title: heading above the table.
            columns: heading of each column, short.
            rows: cells, one list a row.
            legend: what the headings mean, printed below.
        """
        width = min(shutil.get_terminal_size((80, 24)).columns, WIDEST)
        console = self.console
        for line in wrapped(title, width):
            console.print(line, style="bold", markup=False)
        for line in text_table(columns, rows, width):
            console.print(line, markup=False)
        for line in wrapped(legend, width):
            console.print(line, style="dim", markup=False)

    def result(self, data: dict[str, Any]) -> None:
        """Print the machine-readable result if it was asked for.

        Args:
            data: what the command found; numpy numbers and arrays are converted.
        """
        if self.as_json:
            print(json.dumps(plain(data)), flush=True)


def gate_lines(output: Output) -> Callable[[Any], None]:
    """Make a printer of gate decisions, for logs and pipes, where there is no progress bar.

    Args:
        output: the screen.

    Returns:
        Function of a `GateEvent`; it prints nothing on a terminal.
    """

    def show(event: Any) -> None:
        if not sys.stderr.isatty():
            returns = f"candidate {event.candidate_return:.4g}, deployed before {event.deployed_return:.4g}"
            output.line(f"  step {event.step}: {event.decision} ({returns})")

    return show


def plain(value: Any) -> Any:
    """Turn numpy values, tuples and paths into what JSON knows; NaN and infinities become None.

    Args:
        value: any nesting of dicts, sequences, numbers and strings.

    Returns:
        The same nesting of dict, list, str, int, float, bool and None.
    """
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    if value is None or isinstance(value, str | int | bool):
        return value
    return str(value)


@contextmanager
def busy(what: str) -> Iterator[None]:
    """Show on a terminal what is being done and for how long; nothing in logs and pipes.

    Args:
        what: a few words; nothing may be printed meanwhile.
    """
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        progress.add_task(what, total=None)
        yield
