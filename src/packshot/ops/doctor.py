"""Is this machine fit for a long run? Looked at before one begins, not found out after an hour."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from packshot.config import Settings
from packshot.errors import PackshotError
from packshot.home import Home, project_root
from packshot.ops.services import choose_port, read_state
from packshot.progress import say
from packshot.registry.ledger import URL_VARIABLE, Ledger

STATE_NEEDS_GB = 3.0
"""What a run writes. The libraries' share of the 10 GB is checked by scripts/bootstrap before it installs them."""
MEMORY_NEEDS_GB = 4.0
APT_LISTS = Path("/var/lib/apt/lists")
Verdict = Literal["ok", "warning", "failed"]


@dataclass(frozen=True)
class Finding:
    """One check: what was found and, unless it is ok, what to do."""

    name: str
    verdict: Verdict
    found: str
    advice: str = ""


def disk(settings: Settings) -> Finding:
    """Free space where state is kept."""
    root = Home.from_environment().root
    existing = next(folder for folder in (root, *root.parents) if folder.exists())
    free = shutil.disk_usage(existing).free / 1e9
    if free < STATE_NEEDS_GB:
        advice = f"free some, or set PACKSHOT_HOME to a folder on a larger disk; about {STATE_NEEDS_GB:g} GB are needed"
        return Finding("disk", "failed", f"{free:.1f} GB free at {existing}", advice)
    return Finding("disk", "ok", f"{free:.0f} GB free at {existing}")


def memory(settings: Settings) -> Finding:
    """Memory that processes could have now."""
    free = psutil.virtual_memory().available / 1e9
    if free < MEMORY_NEEDS_GB:
        return Finding("memory", "warning", f"{free:.1f} GB available", "training may be ended for want of memory")
    return Finding("memory", "ok", f"{free:.0f} GB available")


def ports(settings: Settings) -> Finding:
    """Ports for the two pages, unless they are up already."""
    if read_state(Home.from_environment()) is not None:
        return Finding("ports", "ok", "Airflow runs already")
    try:
        airflow = choose_port("airflow")
        mlflow = choose_port("mlflow", (airflow,))
    except PackshotError as error:
        return Finding("ports", "failed", str(error), "choose other ports with these variables, or none")
    return Finding("ports", "ok", f"{airflow} for Airflow, {mlflow} for MLflow")


def git(settings: Settings) -> Finding:
    """git, in which data revisions are committed."""
    found = shutil.which("git")
    if found is None:
        return Finding("git", "failed", "not on PATH", "on Debian: apt-get install git")
    return Finding("git", "ok", found)


def package_lists(settings: Settings) -> Finding:
    """apt's package lists, where the packages source may be used."""
    use = settings.source.use
    mirror = project_root() / settings.source.mirror
    if use in ("mirror", "public") or (use == "auto" and mirror.is_dir()):
        return Finding("packages", "ok", "not needed by this source")
    must: Verdict = "failed" if use == "packages" else "warning"
    if shutil.which("apt-get") is None:
        return Finding("packages", must, "no apt-get here", "name a mirror by PACKSHOT_MIRROR")
    if not any(APT_LISTS.glob("*_Packages*")):
        return Finding("packages", must, f"no package lists in {APT_LISTS}", "as root: apt-get update")
    return Finding("packages", "ok", "package lists are there")


def ledger(settings: Settings) -> Finding:
    """The ledger, every entry of it."""
    if not _has_ledger():
        return Finding("ledger", "ok", "none yet")
    book = Ledger.from_environment()
    entries, breaks = len(book.events()), book.breaks()
    if breaks:
        return Finding("ledger", "failed", breaks[0], "`packshot registry verify` names all; restore it from a backup")
    return Finding("ledger", "ok", f"{entries} entries, none changed")


def models(settings: Settings) -> Finding:
    """The champion, where MLflow's alias is, its files, and every registered version in MLflow."""
    name = settings.registry.model_name
    if not _has_ledger():
        return Finding("models", "ok", "none yet")
    from packshot.registry.models import bundle_path
    from packshot.registry.tracking import registered_versions

    state = Ledger.from_environment().state(name)
    if not state.registered:
        return Finding("models", "ok", "none yet")
    champion = "no champion yet"
    if state.champion is not None:
        bundle_path(settings, "champion")
        champion = f"champion {state.champion}, its files as they were registered"
    missing = sorted(set(state.registered) - registered_versions(settings))
    if missing:
        gone = ", ".join(map(str, missing[:5]))
        advice = "restore MLflow's store from a backup: they can neither be promoted nor rolled back to"
        return Finding("models", "warning", f"{champion}; MLflow has lost version {gone} of {name}", advice)
    return Finding("models", "ok", f"{champion}; {len(state.registered)} version(s)")


def _has_ledger() -> bool:
    return bool(os.environ.get(URL_VARIABLE)) or Home.from_environment().ledger_db.exists()


CHECKS: tuple[Callable[[Settings], Finding], ...] = (disk, memory, ports, git, package_lists, ledger, models)


def checked(check: Callable[[Settings], Finding], settings: Settings) -> Finding:
    """What a check finds; one that cannot be made has failed, and says why."""
    try:
        return check(settings)
    except PackshotError as error:
        return Finding(check.__name__.replace("package_lists", "packages"), "failed", str(error))


def run(settings: Settings) -> int:
    """Print every check; return 1 where one failed, else 0."""
    findings = [checked(check, settings) for check in CHECKS]
    for finding in findings:
        say(
            f"{finding.verdict:<8} {finding.name:<9} {finding.found}"
            + (f"; {finding.advice}" if finding.advice else "")
        )
    failed = [finding.name for finding in findings if finding.verdict == "failed"]
    if failed:
        say(f"not started: {', '.join(failed)}")
    return 1 if failed else 0
