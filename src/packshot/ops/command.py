"""Running one `packshot` command as a process of its own: its log streamed, its result and its cause of failure kept.

Standard library only: the DAG files import it, and a DAG file must parse in well under a second.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from packshot.home import project_root
from packshot.redaction import redacted

NOTHING_TO_DO = 99
WRONG_USE = 2
TAIL_LINES = 15
TERMINATE_AFTER_S = 20.0
_TERMINAL_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_PRIVATE_PREFIXES = ("AIRFLOW__", "__AIRFLOW", "_AIRFLOW")


@dataclass(frozen=True)
class Finished:
    """How a command ended. `result` is the JSON object it handed on, `tail` its last lines of output."""

    command: str
    exit_code: int
    result: dict[str, Any]
    tail: tuple[str, ...]

    @property
    def nothing_to_do(self) -> bool:
        """The command found its work done already."""
        return self.exit_code == NOTHING_TO_DO

    @property
    def worth_retrying(self) -> bool:
        """False where the command or the settings are wrong, which another try cannot mend."""
        return self.exit_code != WRONG_USE

    def cause(self) -> str:
        """One paragraph that names the command, how it ended, and the last lines it said; without secrets."""
        if self.exit_code < 0:
            ending = f"was ended by signal {signal.Signals(-self.exit_code).name}"
            if self.exit_code == -signal.SIGKILL:
                ending += " (out of memory?)"
        else:
            ending = f"ended with exit code {self.exit_code}"
        said = "\n".join(self.tail) or "(it said nothing)"
        return redacted(f"`{self.command}` {ending}. It said last:\n{said}")


def packshot_command() -> list[str]:
    """The `packshot` executable: PACKSHOT_COMMAND, else the one beside this interpreter, else the one on PATH."""
    named = os.environ.get("PACKSHOT_COMMAND")
    if named:
        return shlex.split(named)
    beside = Path(sys.executable).with_name("packshot")
    return [str(beside) if beside.exists() else shutil.which("packshot") or "packshot"]


def last_object(lines: Sequence[str]) -> dict[str, Any]:
    """The last of `lines` that is a JSON object, else an empty one."""
    for line in reversed(lines):
        if line.startswith("{"):
            try:
                value = json.loads(line)
            except ValueError:
                continue
            if isinstance(value, dict):
                return value
    return {}


@dataclass
class Command:
    """One run of `packshot ARGUMENTS`; `stop()` may be called from a signal handler."""

    arguments: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    _process: subprocess.Popen[str] | None = None

    def run(self, log: Callable[[str], None]) -> Finished:
        """Run to the end, giving every line of output to `log` as it comes.

        Standard error is merged into standard output so that progress does not read as an error. Secrets that the
        command says are hidden. The result comes by the file that PACKSHOT_RESULT names, else from the last line that
        is a JSON object.
        """
        command = [*packshot_command(), *self.arguments]
        tail: deque[str] = deque(maxlen=TAIL_LINES)
        with tempfile.TemporaryDirectory(prefix="packshot-") as folder:
            result_file = Path(folder) / "result.json"
            self._process = subprocess.Popen(
                command,
                cwd=project_root(),
                env=self._environment(result_file),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
            )
            assert self._process.stdout is not None
            for raw in self._process.stdout:
                line = redacted(_TERMINAL_CODES.sub("", raw.rstrip()))
                if line:
                    tail.append(line)
                    log(line)
            exit_code = self._process.wait()
            result = json.loads(result_file.read_text()) if result_file.exists() else last_object(tuple(tail))
        return Finished(shlex.join(["packshot", *self.arguments]), exit_code, result, tuple(tail))

    def stop(self) -> None:
        """End the command and all its children: interrupt first, kill what is left after 20 seconds."""
        if self._process is None or self._process.poll() is not None:
            return
        for number, wait_s in ((signal.SIGINT, TERMINATE_AFTER_S), (signal.SIGKILL, TERMINATE_AFTER_S)):
            try:
                os.killpg(self._process.pid, number)
                self._process.wait(wait_s)
                return
            except ProcessLookupError:
                return
            except subprocess.TimeoutExpired:
                continue

    def _environment(self, result_file: Path) -> dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(_PRIVATE_PREFIXES)}
        return inherited | dict(self.environment) | {"PACKSHOT_RESULT": str(result_file), "PYTHONUNBUFFERED": "1"}
