"""A training in a process of its own that works for a second and is then killed, or waits to be."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

PARAMS = Path(__file__).resolve().parents[2] / "params.yaml"
TRAIN = f"""
import os, signal, sys, time
from pathlib import Path
from packshot.config import load_settings
from packshot.cost import metered
from packshot.registry.costs import costed
from packshot.registry.tracking import open_run
from packshot.revision import RunKey
settings = load_settings(Path({str(PARAMS)!r}))
with metered() as meter, open_run(settings, RunKey("data", "code", sys.argv[1])) as recorder, costed(
    recorder, meter, settings.cost
) as told:
    begun = time.process_time()
    while time.process_time() - begun < 1.0:
        pass
    told.metrics({{"loss": 3.0}}, 0)
    print(recorder.run_id, flush=True)
    sys.stdin.readline()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@dataclass
class Training:
    """A process that trains under a run key of its own, and its MLflow run."""

    process: subprocess.Popen[str]
    run_id: str

    def kill(self) -> None:
        """End it as the kernel does when memory runs out."""
        self.process.kill()
        self.process.wait()


def start_training(params_hash: str) -> Training:
    """Start one and return when it has recorded its first epoch."""
    command = [sys.executable, "-c", TRAIN, params_hash]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return Training(process, process.stdout.readline().strip())
