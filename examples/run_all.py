"""Run every example in its short form, one after the other; stop at the first that fails."""

import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent

for path in sorted(HERE.glob("[0-9]*.py")):
    start = time.perf_counter()
    done = subprocess.run([sys.executable, str(path), "--short"], capture_output=True, text=True)
    print(
        f"{path.name:28s} {time.perf_counter() - start:6.1f} s  {'ok' if done.returncode == 0 else 'FAILED'}",
        flush=True,
    )
    if done.returncode != 0:
        sys.exit(done.stdout + done.stderr)
