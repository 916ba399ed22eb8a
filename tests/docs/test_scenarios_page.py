"""The page about the scenarios is what its program writes from the committed tables."""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "docs"))
import scenarios

from yannctl.scenarios import NAMES, variants

PAGE = Path(__file__).parents[2] / "docs" / "scenarios.md"


def test_page_is_what_its_program_writes():
    assert scenarios.page(scenarios.results()) == PAGE.read_text(encoding="utf-8"), "run python docs/scenarios.py"


def test_every_table_is_of_a_scenario_and_says_where_it_comes_from():
    found = scenarios.results()
    assert {data["scenario"] for data in found} >= {"cstr-setpoint", "cstr-startup", "robot-kappa6"}
    for data in found:
        assert data["variant"] in variants(data["scenario"])
        assert data["starts"] == 100
        assert data["ok"]
        assert isinstance(data["seed"], int)
        assert data["commit"]
        assert data["machine"]["processor"]
        assert data["command"] == (
            f"yannctl eval {data['scenario']} --variant {data['variant']} --starts 100 --seed {data['seed']}"
        )


def test_no_row_behind_the_filter_violates():
    for path in scenarios.RESULTS.glob("*.json"):
        rows = json.loads(path.read_text())["rows"]
        assert all(row["violating"] == 0 for name, row in rows.items() if name.startswith("filtered"))


def test_tuned_weights_belong_to_rows_that_can_be_tuned():
    entries = json.loads((scenarios.FOLDER.parent / "yannctl" / "scenarios" / "tuned.json").read_text())
    for entry, found in entries.items():
        name, variant, *row = entry.split(":")
        assert name in NAMES
        assert variant in variants(name)
        assert (row or ["tuned"])[0].removeprefix("filtered-") in {
            "tuned",
            "tuned-preview",
            "tuned-offset-free",
            "offset-free",
        }
        assert found["tuning_cost"] <= found["plain_cost"]
        assert "--seed 1000" in found["command"]
