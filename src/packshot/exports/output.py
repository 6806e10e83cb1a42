"""Where exports are written: whole folders that are replaced together, and names that are safe in them."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from packshot import __version__
from packshot.errors import PackshotError
from packshot.exports.source import VerdictFile
from packshot.files import OutputNotWritable, atomic_folder, write_json
from packshot.lock import held

MARKER = "export.json"
LONGEST_NAME = 60
_UNSAFE = re.compile(r"[^\w.\-]+")


class OutputNotOurs(PackshotError):
    """The output folder holds something that no export of this kind wrote."""

    exit_code = 2


class OutputTaken(PackshotError):
    """Another process writes the same export."""

    exit_code = 75


@contextmanager
def sole_export(out: Path, kind: str) -> Iterator[None]:
    """Hold `out` for this process. Raises OutputTaken, and OutputNotOurs where it holds anything else than this kind
    of export."""
    name = hashlib.sha256(str(out.resolve()).encode()).hexdigest()[:16]
    with held(f"export-{name}", 0, OutputTaken(f"another process is exporting to {out}; wait for it")):
        _check_ours(out, kind)
        yield


@contextmanager
def folder_export(out: Path, kind: str, files: Sequence[VerdictFile]) -> Iterator[Path]:
    """Yield an empty folder that takes the place of `out`, whole, when the block ends well.

    `out` must be new, empty, or an earlier export of this kind. Raises OutputNotOurs, OutputTaken, OutputNotWritable.
    """
    with sole_export(out, kind):
        put_right(out, MARKER)
        with atomic_folder(out) as building:
            write_marker(building, kind, files)
            yield building


def put_right(target: Path, holding: str) -> None:
    """Put right what killed runs of `atomic_folder` left beside `target`: folders that hold a file `holding`.

    What stood at `target` before comes back where the kill left nothing there; the rest goes. `target` may lie among a
    user's own files, so nothing is touched but folders named and filled as ours are.
    """
    ours = re.compile(rf"\.{re.escape(target.name[:40])}\.[a-z0-9_]{{8}}(-before)?")
    found = [path for path in target.parent.glob(".*") if ours.fullmatch(path.name) and (path / holding).is_file()]
    try:
        for folder in found:
            if folder.name.endswith("-before") and not target.exists():
                folder.rename(target)
    except OSError as error:
        raise OutputNotWritable(target, error) from error
    for folder in found:
        shutil.rmtree(folder, ignore_errors=True)


def write_marker(folder: Path, kind: str, files: Sequence[VerdictFile]) -> None:
    """Say which export `folder` is, and from which verdicts it was made."""
    sources = [{"batch_id": file.batch_id, "model": file.model, "rows": file.rows} for file in files]
    write_json(folder / MARKER, {"kind": kind, "packshot": __version__, "verdicts": sources})


def _check_ours(out: Path, kind: str) -> None:
    try:
        if not out.exists() or (out.is_dir() and not any(out.iterdir())):
            return
        found = json.loads((out / MARKER).read_text(encoding="utf-8"))["kind"] if out.is_dir() else None
    except (OSError, ValueError, KeyError, TypeError):
        found = None
    if found != kind:
        raise OutputNotOurs(
            f"{out} holds {f'an export of {found}' if found else 'something else'}, and an export of {kind} would "
            "replace it; name a new folder"
        )


def safe_name(text: str | None, otherwise: str = "unknown") -> str:
    """`text` as one part of a path: no separators, spaces or leading dot, of bounded length; never empty."""
    cleaned = _UNSAFE.sub("_", text or "").strip("._")
    return cleaned[:LONGEST_NAME].strip("._") or otherwise


def own_name(text: str) -> str:
    """As `safe_name`, and different for different texts: what was left out stands in 8 hex digits."""
    return f"{safe_name(text)}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
