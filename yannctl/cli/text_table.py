"""Tables that fit a terminal: no word is broken, cells wrap between words, wide tables go on below."""

import re
from collections.abc import Sequence
from textwrap import wrap

GAP = 2  # blanks between columns
HARD_BLANK = "\N{NO-BREAK SPACE}"
NUMBER = re.compile(r"[-+<>~]{0,2}(\d[\d.,e+\-]*|inf|nan)(\s?(%|[a-zA-Z]{1,2}|of\s\d+))?")


def text_table(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """Lay a table out in lines of at most `width` characters.

    Where the columns do not fit beside each other even with every cell wrapped between its words, the table goes on
    below, its first column repeated. Only a single word longer than a line makes a longer line.

    Args:
        columns: heading of each column.
        rows: cells, one sequence a row.
        width: characters a line.

    Returns:
        The lines; those of headings come first in each block and are followed by a rule.
    """
    cells = [[_joined(cell) for cell in row] for row in [columns, *rows]]
    lines: list[str] = []
    for block in _blocks([_longest_word(column) for column in zip(*cells, strict=True)], width):
        lines += [""] if lines else []
        lines += _block([[row[i] for i in block] for row in cells], width)
    return [line.replace(HARD_BLANK, " ") for line in lines]


def wrapped(text: str, width: int) -> list[str]:
    """Wrap a paragraph between words; a number keeps its sign of per cent.

    Args:
        text: the paragraph.
        width: characters a line.

    Returns:
        The lines.
    """
    lines = wrap(_joined(text), width, break_long_words=False, break_on_hyphens=False)
    return [line.replace(HARD_BLANK, " ") for line in lines]


def _joined(text: str) -> str:
    """Bind what belongs together: "5 %", "3 of 100"."""
    return re.sub(r"(?<=\d) (?=%[.:,;)]?(?: |$))|(?<=\d) (?=of \d)|(?<=\d of) (?=\d)", HARD_BLANK, text)


def _blocks(least: list[int], width: int) -> list[list[int]]:
    """Columns of each block, the first one in all of them."""
    blocks = [[0]]
    for i in range(1, len(least)):
        taken = sum(least[j] + GAP for j in blocks[-1]) + least[i]
        if taken > width and len(blocks[-1]) > 1:
            blocks.append([0])
        blocks[-1].append(i)
    return blocks


def _block(cells: list[list[str]], width: int) -> list[str]:
    columns = list(zip(*cells, strict=True))
    widths = _widths(columns, width)
    right = [i > 0 and all(NUMBER.fullmatch(cell) or not cell for cell in c[1:]) for i, c in enumerate(columns)]
    lines = []
    for number, row in enumerate(cells):
        pieces = [
            wrap(cell, size, break_long_words=False, break_on_hyphens=False) or [""]
            for cell, size in zip(row, widths, strict=True)
        ]
        for k in range(max(map(len, pieces))):
            parts = [piece[k] if k < len(piece) else "" for piece in pieces]
            placed = [p.rjust(w) if r else p.ljust(w) for p, w, r in zip(parts, widths, right, strict=True)]
            lines.append((" " * GAP).join(placed).rstrip())
        if number == 0:
            lines.append((" " * GAP).join("-" * w for w in widths))
    return lines


def _widths(columns: list[tuple[str, ...]], width: int) -> list[int]:
    """Natural widths; where they are too many, the widest columns give way down to their longest word."""
    widths = [max(map(len, column)) for column in columns]
    least = [_longest_word(column) for column in columns]
    while sum(widths) + GAP * (len(widths) - 1) > width:
        room = [w if w > low else 0 for w, low in zip(widths, least, strict=True)]
        widest = room.index(max(room))
        if room[widest] == 0:
            break
        widths[widest] -= 1
    return widths


def _longest_word(cells: Sequence[str]) -> int:
    return max((len(word) for cell in cells for word in cell.split(" ")), default=1)
