"""The page about the solver is what its program writes from the committed benchmark."""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "docs"))
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import solver
from problems import REGIONS


def test_page_is_what_its_program_writes():
    assert solver.page() == solver.PAGE.read_text(encoding="utf-8"), "run python docs/solver.py"


def test_every_problem_is_there_with_the_right_regions_and_no_hole():
    rows = json.loads(solver.RESULTS.read_text(encoding="utf-8"))["rows"]
    assert [row["problem"] for row in rows] == list(REGIONS)
    for row in rows:
        assert REGIONS[row["problem"]] in {None, row["regions"]}
        assert (row["uncovered"], row["open_facets"], row["status"]) == (0, 0, "complete")
        assert row["max_error"] <= 1e-8
