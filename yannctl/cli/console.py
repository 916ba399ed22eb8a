"""What a command prints: text for people, or one JSON object last on standard output."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table


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

    def table(self, title: str, columns: list[str], rows: list[list[str]]) -> None:
        """Print a table for people.

        Args:
            title: heading above the table.
            columns: heading of each column.
            rows: cells, one list a row.
        """
        table = Table(title=title, title_justify="left", header_style="bold")
        for number, column in enumerate(columns):
            table.add_column(column, justify="left" if number == 0 else "right", overflow="fold")
        for row in rows:
            table.add_row(*row)
        self.console.print(table)

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
            returns = f"candidate {event.candidate_return:.1f}, deployed before {event.deployed_return:.1f}"
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
