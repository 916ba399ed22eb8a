"""Make every table of the scenarios anew, one after the other, and write the page from them.

    python benchmarks/tables.py [--only cstr-setpoint:mismatch robot-kappa6:nominal] [--again]

Each table is one `yannctl eval` on 100 starts, one to five minutes of a core; tables of the present code are not made
again, so an interrupted run goes on where it was. Code counts as the present one if none of the stages that make a
table has changed since the commit it names.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from tqdm import tqdm

from yannctl.scenarios import NAMES, variants

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "eval"
STARTS, SEED = "100", "0"
STAGES = ("assurance", "controllers", "linear", "models", "mpqp", "ocp", "plant", "scenarios", "solvers", "tape")


def present(path: Path) -> bool:
    """Whether a table was made by the code as it is now."""
    if not path.is_file():
        return False
    commit = json.loads(path.read_text(encoding="utf-8"))["commit"]
    changed = subprocess.run(
        ["git", "-C", str(ROOT), "diff", "--quiet", commit, "--", *(f"yannctl/{stage}" for stage in STAGES)],
        capture_output=True,
        check=False,
    )
    return changed.returncode == 0  # 1 changed, 128 an unknown or dirty commit


def make(name: str, variant: str) -> bool:
    """Make one table; False where its best row cannot be believed."""
    words = [sys.executable, "-c", "from yannctl.cli.app import main; main()", "eval", name, "--variant", variant]
    words += ["--starts", STARTS, "--seed", SEED]
    done = subprocess.run([*words, "--out", str(RESULTS)], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode not in {0, 1}:
        sys.exit(done.stderr)
    return done.returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    every = [f"{name}:{variant}" for name in NAMES for variant in variants(name)]
    parser.add_argument("--only", nargs="+", choices=every, default=every, metavar="NAME:VARIANT", help="some of them")
    parser.add_argument("--again", action="store_true", help="also those that are there already")
    options = parser.parse_args()
    wanted = [task.split(":") for task in options.only]
    left = [task for task in wanted if options.again or not present(RESULTS / f"{'-'.join(task)}.json")]
    print(f"{len(wanted) - len(left)} of {len(wanted)} tables are of the present code")
    failed = [task for task in tqdm(left, desc="tables", disable=None) if not make(*task)]
    for picture in RESULTS.glob("*.png"):
        picture.unlink()  # look at them with `yannctl eval --out`; only the tables are kept
    subprocess.run([sys.executable, str(ROOT / "docs" / "scenarios.py")], check=True)
    for task in failed:
        print(f"{':'.join(task)}: the row the gaps count from cannot be believed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
