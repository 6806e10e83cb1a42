"""What `packshot score` costs before its first picture is being judged: CPU time, wall time, memory.

    python benchmarks/start_up.py --bundle FOLDER [--runs 3]

One picture is scored by the command in a process of its own, which ends where the first judgement begins. CPU time is
that of this process; the decoding processes start beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

UNTIL_JUDGED = """
import json, os, resource, sys, time
from packshot.scoring import rows

def begun(*_):
    used = resource.getrusage(resource.RUSAGE_SELF)
    wall = time.time() - float(os.environ["BEGUN"])
    told = {"cpu_s": used.ru_utime + used.ru_stime, "wall_s": wall, "memory_mib": used.ru_maxrss / 1024}
    print(json.dumps(told | {"loaded": sorted({name.split(".")[0] for name in sys.modules})}), flush=True)
    os._exit(0)

rows._judge_chunk = begun
from packshot.cli import main
main()
"""
SLOW = ("torch", "pandas", "scipy", "sklearn", "sqlalchemy", "cv2", "pyarrow", "pydantic", "matplotlib", "mlflow")


def measured(bundle: Path, folder: Path) -> dict[str, float]:
    """One start, from nothing to the first judgement; says which slow packages it loaded."""
    with tempfile.TemporaryDirectory() as scratch:
        environment = os.environ | {"BEGUN": str(time.time()), "PACKSHOT_HOME": f"{scratch}/home"}
        command = [
            sys.executable,
            "-c",
            UNTIL_JUDGED,
            "score",
            str(folder),
            f"--out={scratch}/out",
            f"--model={bundle}",
        ]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    told = json.loads(done.stdout.strip().splitlines()[-1])
    loaded = told.pop("loaded")
    print(f"loaded: {', '.join(name for name in SLOW if name in loaded)}")
    return told  # type: ignore[no-any-return]


def main() -> None:
    """Print the medians of some runs, after one that fills the disk cache."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8)
        Image.fromarray(noise).save(Path(folder) / "picture.png")
        runs = [measured(asked.bundle.resolve(), Path(folder)) for _ in range(asked.runs + 1)][1:]
    for name in runs[0]:
        print(f"{name}: {statistics.median(run[name] for run in runs):.2f}")


if __name__ == "__main__":
    main()
