"""Starting a worker from wherever we are: a script without a main guard, a daemon, a notebook, a thread.

`multiprocessing` runs the main module of the owner again in every process that it spawns, which in a script without a
guard starts the script again; and it refuses children to its own daemons, such as data loaders and task runners, since
they would outlive them. Our workers need nothing of the main module, and end with their owner.
"""

from __future__ import annotations

import io
import os
import sys
from multiprocessing import current_process, reduction, resource_tracker, spawn, util
from multiprocessing.context import SpawnContext, SpawnProcess, set_spawning_popen
from typing import Any

if sys.platform == "win32":

    class _Process(SpawnProcess):
        """As it is."""

else:
    from multiprocessing.popen_spawn_posix import Popen

    class _PlainPopen(Popen):
        """`Popen._launch`, but for what leads to the main module."""

        def _launch(self, process_obj: Any) -> None:
            tracker = resource_tracker.getfd()
            self._fds.append(tracker)  # type: ignore[attr-defined]
            said = spawn.get_preparation_data(process_obj._name)
            for leads_to_main in ("init_main_from_name", "init_main_from_path"):
                said.pop(leads_to_main, None)
            content = io.BytesIO()
            set_spawning_popen(self)
            try:
                reduction.dump(said, content)
                reduction.dump(process_obj, content)
            finally:
                set_spawning_popen(None)
            self._run(tracker, content)

        def _run(self, tracker: int | None, content: io.BytesIO) -> None:
            ours, theirs = os.pipe()
            inlet, outlet = os.pipe()
            try:
                command = spawn.get_command_line(tracker_fd=tracker, pipe_handle=inlet)
                passed = [*self._fds, inlet, theirs]  # type: ignore[attr-defined]
                self.pid = util.spawnv_passfds(spawn.get_executable(), command, passed)  # type: ignore[arg-type]
                self.sentinel = ours
                with open(outlet, "wb", closefd=False) as stream:
                    stream.write(content.getbuffer())
            finally:
                self.finalizer = util.Finalize(self, util.close_fds, (ours, outlet))  # type: ignore[attr-defined]
                os.close(inlet)
                os.close(theirs)

    class _Process(SpawnProcess):
        """Started without the main module, by daemons too."""

        @staticmethod
        def _Popen(process_obj: Any) -> Any:  # noqa: N802
            return _PlainPopen(process_obj)

        def start(self) -> None:
            """See BaseProcess."""
            own: dict[str, Any] = current_process()._config  # type: ignore[attr-defined]
            daemon = own.pop("daemon", None)
            try:
                super().start()
            finally:
                if daemon is not None:
                    own["daemon"] = daemon


class PlainSpawn(SpawnContext):
    """The context of `multiprocessing` that starts such processes."""

    Process = _Process
