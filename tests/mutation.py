"""Change every operator, operand and text of the gate code, one at a time, and see that a test notices.

    make mutation

What is mutated, and by which tests, stands in pyproject.toml (tool.mutmut). Prints the count of each outcome and the
change behind every mutant that lives; the exit code is 1 where one does. Takes some three minutes on one core.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

STATISTICS = Path("mutants/mutmut-cicd-stats.json")
ALIVE = ("survived", "no_tests", "suspicious", "timeout", "segfault")


def mutmut(*arguments: str) -> str:
    """Output of one mutmut command; ends the program where it fails."""
    done = subprocess.run([sys.executable, "-m", "mutmut", *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(
            f"mutmut {' '.join(arguments)} failed with {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        )
    return done.stdout


def main() -> int:
    """Run, count, and show what lives."""
    # kept results would not notice that tests have changed
    shutil.rmtree(STATISTICS.parent, ignore_errors=True)
    mutmut("run")
    mutmut("export-cicd-stats")
    counts = {name: count for name, count in json.loads(STATISTICS.read_text()).items() if count}
    print(", ".join(f"{name.replace('_', ' ')} {count}" for name, count in counts.items()))
    living = [line.strip().split(":")[0] for line in mutmut("results").splitlines() if ":" in line]
    for name in living:
        print(f"\n{mutmut('show', name)}")
    if not counts.get("killed"):
        sys.exit("nothing was mutated: look at tool.mutmut in pyproject.toml")
    return 1 if living or any(counts.get(name) for name in ALIVE) else 0


if __name__ == "__main__":
    sys.exit(main())
