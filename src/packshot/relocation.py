"""A state folder that was moved, copied or put back elsewhere: nothing it stores decides by an old place.

Three things in it need absolute paths: where MLflow's artefacts are, where a workspace was cloned from, and where the
pictures of a batch were judged. The folder remembers where it was (`home.json`); the first command that finds it
elsewhere rewrites the first two, and every reader of the third asks `present`. A copy so never reads or writes what it
was copied from.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from packshot.errors import PackshotError
from packshot.files import write_json, write_text
from packshot.home import Home
from packshot.lock import held
from packshot.progress import say

RECORD = "home.json"
WAIT_S = 120.0
LOCATIONS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Tables and columns of MLflow's store that say where artefacts are."""
WORKSPACE_FILES = (".dvc/config", ".dvc/config.local", ".git/config")


class HomeMoving(PackshotError):
    """Another process is bringing the state folder up to date."""

    exit_code = 75


class HomeUnreadable(PackshotError):
    """The state folder was moved, and what it stores cannot be brought up to date."""

    exit_code = 74


def settle() -> None:
    """Bring what the state folder stores of its own place up to date where it was moved or copied; else do nothing.

    Costs one small read where nothing was moved. Raises HomeMoving, HomeUnreadable, OutputNotWritable.
    """
    home = Home.from_environment()
    if not home.root.is_dir() or _recorded(home)[:1] == [home.root]:
        return
    busy = HomeMoving(f"another process is bringing {home.root} up to date after it was moved; try again")
    with held("home", WAIT_S, busy):
        known = _recorded(home)
        if known[:1] == [home.root]:
            return
        former = [place for place in (known or _places_in_store(home)) if place != home.root]
        if known and _is_another_name(known[0], home.root):
            return
        for place in former:
            _rewrite_store(home, place)
            _rewrite_workspaces(home, place)
        write_json(home.root / RECORD, {"root": str(home.root), "formerly": [str(place) for place in former]})
    if former:
        _forget_opened()
        say(f"{home.root} was at {former[0]} before; what it stores of its place is brought up to date")


def present(path: Path) -> Path:
    """Where something is now that was recorded at `path`: the same place below this state folder, where `path` lay in
    it before it was moved or copied; else `path`."""
    home = Home.from_environment()
    if path.is_relative_to(home.root):
        return path
    for place in _recorded(home)[1:]:
        if path.is_relative_to(place):
            return home.root / path.relative_to(place)
    return path


def _recorded(home: Home) -> list[Path]:
    """Where the folder was when it was last used, then where it was before that; empty where nothing is known."""
    try:
        record = json.loads((home.root / RECORD).read_text(encoding="utf-8"))
        return [Path(record["root"]), *map(Path, record["formerly"])]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HomeUnreadable(
            f"{home.root / RECORD}, which says where this folder was, cannot be read ({error}); if the folder was "
            "never moved, remove that file"
        ) from error


def _is_another_name(before: Path, now: Path) -> bool:
    """One folder under two names (a bind mount): what it stores is right under either."""
    return before.is_dir() and before.samefile(now)


def _places_in_store(home: Home) -> Iterator[Path]:
    """Where a folder that kept no record was, as its MLflow store has it."""
    suffix = str(home.mlflow_artifacts.relative_to(home.root))
    if not home.mlflow_db.is_file():
        return
    with _store(home) as store:
        for table, column in _columns(store):
            if table == "experiments":
                for (location,) in store.execute(f"SELECT DISTINCT {column} FROM {table}"):
                    path = unquote(urlsplit(location).path) if location.startswith("file:") else location
                    if path.startswith("/") and path.endswith(f"/{suffix}"):
                        yield Path(path.removesuffix(f"/{suffix}"))


@contextmanager
def _store(home: Home) -> Iterator[sqlite3.Connection]:
    try:
        with closing(sqlite3.connect(home.mlflow_db, timeout=WAIT_S)) as store, store:
            yield store
    except sqlite3.DatabaseError as error:
        raise HomeUnreadable(
            f"whether {home.root} was moved, and where its artefacts are now, cannot be brought up to date in its "
            f"MLflow store {home.mlflow_db}: {error}. Put that file back from a backup"
        ) from error


def _columns(store: sqlite3.Connection) -> Sequence[tuple[str, str]]:
    """Those of LOCATIONS that this store has: other versions of MLflow have others."""
    return [
        (table, column)
        for table, column in LOCATIONS
        if any(found[1] == column for found in store.execute(f"PRAGMA table_info({table})"))
    ]


def _rewrite_store(home: Home, before: Path) -> None:
    if not home.mlflow_db.is_file():
        return
    with _store(home) as store:
        for table, column in _columns(store):
            for old, new in ((before.as_uri(), home.root.as_uri()), (str(before), str(home.root))):
                store.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
                    (f"{new}/", len(old) + 2, len(old) + 1, f"{old}/"),
                )


def _forget_opened() -> None:
    """MLflow keeps where the artefacts of a run are for as long as its process lives."""
    opened = sys.modules.get("mlflow.tracking._tracking_service.utils")
    if opened is not None:
        opened._artifact_repos_cache.clear()


def _rewrite_workspaces(home: Home, before: Path) -> None:
    for workspace in sorted(home.workspaces.glob("*")):
        for path in (workspace / name for name in WORKSPACE_FILES):
            if path.is_file():
                text = path.read_text(encoding="utf-8")
                if f"{before}/" in text:
                    write_text(path, text.replace(f"{before}/", f"{home.root}/"))
