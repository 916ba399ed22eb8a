"""A self-contained HTML page: headings, tables and pictures, readable from disk without a network."""

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from yannctl.files import write_whole

MOST_FIGURE = 26  # letters of a cell with numbers
NARROW_PAGE = 640  # width below which the narrow pictures are shown [px]
STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.55 system-ui, sans-serif; color: #111827; background: #f8fafc; margin: 0; }
main { max-width: 980px; margin: 0 auto; padding: 2.2rem 1.4rem 4rem; }
h1 { font-size: 1.9rem; margin: 0 0 .3rem; } h2 { font-size: 1.25rem; margin: 2.6rem 0 .5rem; }
p.lead { color: #4b5563; margin-top: 0; } p.note { color: #4b5563; font-size: .92rem; }
figure { margin: 1rem 0; background: #fff; border: 1px solid #e5e7eb; border-radius: 10px; padding: .8rem; }
figure img { width: 100%; height: auto; display: block; }
figcaption { color: #4b5563; font-size: .9rem; padding-top: .5rem; }
div.table { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; background: #fff; border: 1px solid #e5e7eb; border-radius: 10px; }
th, td { text-align: left; padding: .45rem .8rem; border-bottom: 1px solid #eef0f3; vertical-align: top; }
th { font-weight: 600; background: #f3f4f6; }
td.figure { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(170px, 1fr)); gap: .8rem; margin: 1.3rem 0; }
.card { background: #fff; border: 1px solid #e5e7eb; border-radius: 10px; padding: .8rem 1rem; }
.card b { display: block; font-size: 1.45rem; } .card span { color: #4b5563; font-size: .88rem; }
@media (max-width: 640px) { main { padding: 1.2rem .7rem 3rem; } th, td { padding: .35rem .5rem; font-size: .9rem; } }
@media print { body { background: #fff; } figure, tr { break-inside: avoid; } }
.good { color: #047857; } .bad { color: #b91c1c; } .skip { color: #92400e; }
"""


@dataclass(frozen=True)
class Card:
    """One headline figure.

    Args:
        value: the figure, as text.
        label: what it is.
        kind: "good", "bad", "skip" or "" (colour).
    """

    value: str
    label: str
    kind: str = ""


@dataclass(frozen=True)
class Picture:
    """A PNG file with its caption.

    Args:
        path: the file; its bytes go into the page.
        caption: one or two sentences on what to see.
        narrow: the same for a narrow page, or None.
    """

    path: Path
    caption: str
    narrow: Path | None = None


@dataclass(frozen=True)
class Section:
    """A heading with text, table rows and pictures, each optional.

    Args:
        title: heading.
        text: a paragraph.
        columns: heading of each column of the table.
        rows: cells of the table.
        pictures: pictures below the table.
        points: a list below the text, one sentence a point.
    """

    title: str
    text: str = ""
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    pictures: Sequence[Picture] = ()
    points: Sequence[str] = ()


def write_report(path: Path, title: str, lead: str, cards: Sequence[Card], sections: Sequence[Section]) -> None:
    """Write the page, whole or not at all.

    Args:
        path: file to write.
        title: heading of the page.
        lead: one sentence below it.
        cards: headline figures.
        sections: the body.
    """
    boxes = "".join(
        f'<div class="card"><b class="{card.kind}">{_text(card.value)}</b><span>{_text(card.label)}</span></div>'
        for card in cards
    )
    body = "".join(_section(section) for section in sections)
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{_text(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>'
        f'<body><main><h1>{_text(title)}</h1><p class="lead">{_text(lead)}</p><div class="cards">{boxes}</div>'
        f"{body}</main></body></html>\n"
    )
    write_whole(path, page.encode("utf-8"))


def _text(value: str) -> str:
    return html.escape(value, quote=True)


def _is_figure(cell: str) -> bool:
    """Whether a cell holds numbers, which are set right and on one line, rather than words."""
    return len(cell) <= MOST_FIGURE and (cell == "–" or any(letter.isdigit() for letter in cell))


def _section(section: Section) -> str:
    parts = [f"<h2>{_text(section.title)}</h2>"]
    if section.text:
        parts.append(f"<p>{_text(section.text)}</p>")
    if section.points:
        parts.append("<ul>" + "".join(f"<li>{_text(point)}</li>" for point in section.points) + "</ul>")
    if section.rows:
        head = "".join(f"<th>{_text(column)}</th>" for column in section.columns)
        rows = "".join(
            "<tr>"
            + "".join(
                f"<td{' class=figure' if i and _is_figure(cell) else ''}>{_text(cell)}</td>"
                for i, cell in enumerate(row)
            )
            + "</tr>"
            for row in section.rows
        )
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        parts.append(f'<div class="table">{table}</div>')
    parts += [_figure(picture) for picture in section.pictures]
    return "".join(parts)


def _figure(picture: Picture) -> str:
    narrow = ""
    if picture.narrow is not None:
        narrow = f'<source media="(max-width: {NARROW_PAGE}px)" srcset="{_data(picture.narrow)}">'
    image = f'<picture>{narrow}<img alt="{_text(picture.caption)}" src="{_data(picture.path)}"></picture>'
    return f"<figure>{image}<figcaption>{_text(picture.caption)}</figcaption></figure>"


def _data(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")
