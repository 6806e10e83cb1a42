"""Working copies in which DVC stages run: a git repository each, one shared DVC cache and remote.

The user's checkout is never written to. The `catalog` workspace holds the newest data; each training
run gets a workspace of its own, cloned from it at one data revision. Workspaces share the cache by hard
links, so a clone costs seconds and no space, and two of them never wait for one another.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from packshot.config import Settings, dump_settings
from packshot.errors import PackshotError
from packshot.files import write_text
from packshot.home import Home, project_root
from packshot.lock import held
from packshot.progress import say
from packshot.stages import with_code_deps

CATALOG = "catalog"
WAIT_S = 600.0
"""Making a workspace fetches its data; who comes second waits this long."""
TRACKED = ("dvc.yaml", "requirements.lock", "data/sources.yaml", "src")
DVC_CONFIG = ".dvc/config"
IGNORED = "/data/*\n!/data/sources.yaml\n/models/\n/reports/\n__pycache__/\n*.pyc\n"
AUTHOR = ("-c", "user.name=packshot", "-c", "user.email=packshot@localhost", "-c", "commit.gpgsign=false")


class StageFailed(PackshotError):
    """A DVC stage or git command in a workspace ended with an error."""

    def __init__(self, command: str, workspace: Path, code: int, tail: str) -> None:
        super().__init__(f"`{command}` in {workspace} ended with exit code {code}:\n{tail}")


class WorkspaceBusy(PackshotError):
    """Another process is making this workspace, or writing its history."""

    exit_code = 75


class WorkspaceMissing(PackshotError):
    """No workspace holds the data revision that was asked for."""


@dataclass(frozen=True)
class Workspace:
    """One working copy: a git repository with DVC inside."""

    root: Path

    @property
    def name(self) -> str:
        """The folder's name under `Home.workspaces`."""
        return self.root.name

    def run(self, *command: str, quiet: bool = False) -> str:
        """Run a command here; stream its output to standard error unless `quiet`; return it whole.

        Raises StageFailed with the last 30 lines.
        """
        process = subprocess.Popen(
            command, cwd=self.root, env=self._environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        lines: list[str] = []
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if not quiet:
                say(line.rstrip())
        if process.wait() != 0:
            raise StageFailed(" ".join(command), self.root, process.returncode, "".join(lines[-30:]))
        return "".join(lines)

    def repro(self, *stages: str, force: bool = False) -> None:
        """Run just these stages where they are out of date, in the order given."""
        for stage in stages:
            flags = ["--single-item"] + (["--force"] if force else [])
            self.run(*dvc_command(), "repro", *flags, stage)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else makes this workspace or writes its history. Raises WorkspaceBusy after WAIT_S seconds."""
        busy = WorkspaceBusy(f"another process has been making or committing {self.root} for {WAIT_S:g} s; try again")
        with held(f"workspace-{self.name}", WAIT_S, busy):
            yield

    def commit(self, message: str) -> str:
        """Commit the tracked files as they are, changed or not, and return the commit. Call inside `alone()`."""
        self.run("git", "add", "--all", quiet=True)
        self.run("git", *AUTHOR, "commit", "--quiet", "--no-verify", "--allow-empty", "-m", message, quiet=True)
        return self.head()

    def head(self) -> str:
        """The commit checked out here."""
        return self.run("git", "rev-parse", "HEAD", quiet=True).strip()

    def tag_in_catalog(self, name: str) -> None:
        """Name the commit checked out here in the catalogue workspace, so that `dvc metrics diff` finds it there."""
        catalog = Home.from_environment().workspaces / CATALOG
        self.run("git", "push", "--quiet", "--force", str(catalog), f"HEAD:refs/tags/{name}", quiet=True)

    def push(self) -> None:
        """Send cached outputs to the DVC remote."""
        self.run(*dvc_command(), "push", "--quiet")

    def _environment(self) -> dict[str, str]:
        home = Home.from_environment()
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PACKSHOT__", "GIT_"))}
        for name in ("PACKSHOT_SOURCE", "PACKSHOT_PARAMS", "PACKSHOT_RESULT"):
            inherited.pop(name, None)
        return inherited | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "PYTHONPATH": str(self.root / "src"),
            "PACKSHOT_PROJECT": str(project_root()),
            "PACKSHOT_HOME": str(home.root),
            "DVC_NO_ANALYTICS": "1",
        }


def dvc_command() -> tuple[str, ...]:
    """DVC of this very environment."""
    return (sys.executable, "-m", "dvc")


def catalog_workspace(settings: Settings) -> Workspace:
    """The workspace that holds the newest catalogue; made on first use, its code and settings brought up to date."""
    home = Home.from_environment()
    workspace = Workspace(home.workspaces / CATALOG)
    with workspace.alone():
        if not (workspace.root / ".git").exists():
            workspace.root.mkdir(parents=True, exist_ok=True)
            workspace.run("git", "init", "--quiet", "--initial-branch=main", quiet=True)
        _write_dvc_config(workspace, settings, home)
        _bring_code(workspace, settings)
        if workspace.run("git", "status", "--porcelain", "--", *TRACKED, "params.yaml", ".dvc", quiet=True).strip():
            workspace.commit("Bring code and settings up to date")
    return workspace


def training_workspace(settings: Settings, run_key: str) -> Workspace:
    """A clone of the catalogue workspace for one run key; an existing one is reused, so a killed run can go on."""
    home = Home.from_environment()
    workspace = Workspace(home.workspaces / f"train-{run_key}")
    with workspace.alone():
        if not (workspace.root / ".git").exists():
            _clone(home, workspace, "HEAD")
        _bring_code(workspace, settings)
    return workspace


def workspace_of_data(data_rev: str) -> Workspace:
    """A workspace that holds this data revision, made from the history of the catalogue where none is left.

    Raises WorkspaceMissing where that history does not know the revision.
    """
    home = Home.from_environment()
    for root in sorted(home.workspaces.glob("train-*")):
        if _holds(root, data_rev):
            return Workspace(root)
    workspace = Workspace(home.workspaces / f"train-data-{data_rev[:12]}")
    with workspace.alone():
        if not _holds(workspace.root, data_rev):
            _clone(home, workspace, commit_of_data(home, data_rev))
    return workspace


def _holds(root: Path, data_rev: str) -> bool:
    from packshot.revision import SPLIT_MANIFEST
    from packshot.revision import data_rev as revision_of

    return (root / SPLIT_MANIFEST).exists() and revision_of(root) == data_rev


def commit_of_data(home: Home, data_rev: str) -> str:
    """The commit of the catalogue's history that holds a data revision. Raises WorkspaceMissing."""
    catalog = Workspace(home.workspaces / CATALOG)
    if (catalog.root / ".git").exists():
        found = catalog.run("git", "log", "--format=%H", f"--grep=^data {data_rev}$", "-1", quiet=True).strip()
        if found:
            return found
    raise WorkspaceMissing(
        f"no workspace under {home.workspaces} holds data revision {data_rev}, and the catalogue's history does not "
        "know it. Was PACKSHOT_HOME changed? Run `packshot data publish` where that data is."
    )


def commit_of_model(home: Home, run_key: str) -> str | None:
    """The commit under the tag of a trained model in the catalogue's history: its code, settings and data."""
    catalog = Workspace(home.workspaces / CATALOG)
    if not (catalog.root / ".git").exists():
        return None
    tags = catalog.run("git", "tag", "--list", f"model-{run_key}", "--format=%(objectname)", quiet=True)
    return tags.strip() or None


def _clone(home: Home, workspace: Workspace, commit: str) -> None:
    catalog = home.workspaces / CATALOG
    partial = workspace.root.with_name(f".{workspace.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    subprocess.run(["git", "clone", "--quiet", "--local", str(catalog), str(partial)], check=True)
    clone = Workspace(partial)
    clone.run("git", "remote", "remove", "origin", quiet=True)
    clone.run("git", "checkout", "--quiet", "--detach", commit, quiet=True)
    # an old commit may say where the data was when it was made
    write_text(clone.root / DVC_CONFIG, (catalog / DVC_CONFIG).read_text(encoding="utf-8"))
    clone.run(*dvc_command(), "pull", "--quiet", "collect", "validate", "split")
    shutil.rmtree(workspace.root, ignore_errors=True)
    partial.replace(workspace.root)


def _write_dvc_config(workspace: Workspace, settings: Settings, home: Home) -> None:
    # DVC takes a relative path from where this file lies, so that a home that is moved takes its data along
    beside = workspace.root / ".dvc"
    own = os.path.relpath(home.dvc_remote, beside)
    remote = os.environ.get("PACKSHOT_DVC_REMOTE") or settings.dvc.remote or own
    config = (
        "[core]\n    remote = store\n    analytics = false\n    autostage = false\n"
        f'[cache]\n    dir = {os.path.relpath(home.dvc_cache, beside)}\n    type = "reflink,hardlink,copy"\n'
        f"['remote \"store\"']\n    url = {remote}\n"
    )
    write_text(workspace.root / DVC_CONFIG, config)
    write_text(workspace.root / ".dvc" / ".gitignore", "/config.local\n/tmp\n/cache\n")
    write_text(workspace.root / ".gitignore", IGNORED)


def _bring_code(workspace: Workspace, settings: Settings) -> None:
    for name in TRACKED:
        source, target = project_root() / name, workspace.root / name
        if source.is_dir():
            _mirror_sources(source, target)
        else:
            write_text(target, source.read_text(encoding="utf-8"))
    _write_code_deps(workspace)
    write_text(workspace.root / "params.yaml", dump_settings(settings))


def _write_code_deps(workspace: Workspace) -> None:
    """A workspace never depends on less than its code, even where the project's own list was not brought up to date."""
    stages, package = workspace.root / "dvc.yaml", workspace.root / "src" / "packshot"
    if (package / "__init__.py").is_file():
        write_text(stages, with_code_deps(stages.read_text(encoding="utf-8"), package))


def _mirror_sources(source: Path, target: Path) -> None:
    """Make `target` equal to `source` without touching files that are equal (DVC watches their times)."""
    skip = shutil.ignore_patterns("__pycache__", "*.egg-info", "*.pyc")
    wanted = {p.relative_to(source) for p in source.rglob("*") if p.is_file() and not _skipped(p)}
    for stale in [p for p in target.rglob("*") if p.is_file() and not _skipped(p)]:
        if stale.relative_to(target) not in wanted:
            stale.unlink()
    if not target.exists():
        shutil.copytree(source, target, ignore=skip)
        return
    for relative in wanted:
        content = (source / relative).read_bytes()
        copy = target / relative
        if not copy.exists() or copy.read_bytes() != content:
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(content)


def _skipped(path: Path) -> bool:
    return any(part == "__pycache__" or part.endswith((".egg-info", ".pyc")) for part in path.parts)
