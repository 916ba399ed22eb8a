"""The program that makes the tables anew knows which ones are of the present code."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
import tables  # noqa: E402


def test_a_table_is_present_only_if_its_commit_is(tmp_path):
    path = tmp_path / "table.json"
    assert not tables.present(path)
    head = subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    clean = subprocess.run(
        ["git", "-C", ROOT, "diff", "--quiet", "HEAD", "--", *(f"yannctl/{stage}" for stage in tables.STAGES)],
        check=False,
    )
    for commit, expected in (
        (head.stdout.strip(), clean.returncode == 0),
        ("unknown", False),
        ("1234567-dirty", False),
    ):
        path.write_text(json.dumps({"commit": commit}))
        assert tables.present(path) == expected
    assert all((ROOT / "yannctl" / stage).is_dir() for stage in tables.STAGES)
