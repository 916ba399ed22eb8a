"""Writes the tables of docs/learning.md from benchmarks/results/learning, between its marks.

python benchmarks/learning_page.py
"""

import json
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from learning_text import markdown

from yannctl.files import write_whole

ROOT = Path(__file__).parents[1]
PAGE, RESULTS = ROOT / "docs" / "learning.md", ROOT / "benchmarks" / "results" / "learning"
MARKED = re.compile(r"<!-- table (?P<name>[\w-]+) -->.*?<!-- end -->", re.DOTALL)


def filled(page: str) -> str:
    """Put every table between its marks.

    Args:
        page: the page as it is.
    """

    def table(found: re.Match[str]) -> str:
        name = found["name"]
        if not (RESULTS / f"{name}.json").is_file():
            return f"<!-- table {name} -->\nNot run yet.\n<!-- end -->"
        part = json.loads((RESULTS / f"{name}.json").read_text())
        return f"<!-- table {name} -->\n{markdown(part)}\n<!-- end -->"

    return MARKED.sub(table, page)


if __name__ == "__main__":
    write_whole(PAGE, filled(PAGE.read_text(encoding="utf-8")).encode())
