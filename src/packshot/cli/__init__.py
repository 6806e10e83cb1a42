"""The `packshot` command: one subcommand a step. dvc.yaml, the DAGs and people call the same ones.

Results go to standard output as one JSON line (and to the file named by PACKSHOT_RESULT); progress and
messages go to standard error. Exit codes: 0 done, 2 wrong use or settings, 3 promotion or adaptation refused, 4 not
enough evidence to promote or to tune thresholds, 5 drift alarm (with --fail-on-alarm), 6 unexplained gap (with
--fail-on-gap), 99 nothing to do; others name their error.
"""

from __future__ import annotations

import os
import sys
import traceback
from typing import NoReturn

from packshot.cli import (
    exporting,
    inbox,
    inspecting,
    judging,
    labelling,
    loop,
    registry,
    running,
    serving,
    steps,
    training,
    verdicts,
)
from packshot.cli.groups import app
from packshot.errors import PackshotError
from packshot.extras import explained
from packshot.home import keep_private
from packshot.progress import say

__all__ = [
    "app",
    "exporting",
    "inbox",
    "inspecting",
    "judging",
    "labelling",
    "loop",
    "main",
    "registry",
    "running",
    "serving",
    "steps",
    "training",
    "verdicts",
]


def main() -> None:
    """Entry point: an error that a user can mend is one message, not a traceback."""
    # threads that spin at a barrier cost a factor of 2 and more as soon as another process wants the core
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("DVC_NO_ANALYTICS", "1")
    keep_private()
    try:
        app()
    except PackshotError as error:
        say(f"packshot: {type(error).__name__}: {error}")
        sys.exit(error.exit_code)
    except ModuleNotFoundError as error:
        _end_without(error)
    except KeyboardInterrupt:
        say("packshot: stopped; what was finished is kept, the same command goes on")
        sys.exit(130)
    except Exception:
        _end_unforeseen()


def _end_without(error: ModuleNotFoundError) -> NoReturn:
    missing = explained(error)
    if missing is None:
        _end_unforeseen()
    say(f"packshot: {type(missing).__name__}: {missing}")
    sys.exit(missing.exit_code)


def _end_unforeseen() -> NoReturn:
    # as Python would, but through `say`, which hides what a library may have put into its message
    say(traceback.format_exc().rstrip())
    sys.exit(1)
