"""The stages of dvc.yaml depend on the code that they import: their deps below `src/` follow from it.

One line a file, so that `dvc status` names the file that changed, and nothing has to run for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from packshot.closure import PACKAGE, code_files
from packshot.errors import PackshotError
from packshot.files import write_text
from packshot.revision import LOCK, Part, entries

SOURCES = PurePosixPath("src")
STAGES: tuple[Part, ...] = ("collect", "validate", "split", "features", "train", "evaluate")
_STAGE, _DEPS, _ITEM = re.compile(r"  (\w+):\s*$"), re.compile(r"    deps:\s*$"), re.compile(r"      - (.*\S)\s*$")


class StageNotWritten(PackshotError):
    """dvc.yaml cannot be read, or a stage of it has no list of deps, one a line, to write into."""


class NoSuchPart(PackshotError):
    """No part of the work is called so."""

    exit_code = 2


def code_deps(stage: Part, package: Path = PACKAGE) -> tuple[str, ...]:
    """What a stage depends on besides data and settings, as paths in the project: the lock file and its code."""
    files = code_files(*entries(stage), package=package)
    return (LOCK, *((SOURCES / name).as_posix() for name in files))


def with_code_deps(text: str, package: Path = PACKAGE) -> str:
    """The text of a dvc.yaml whose stages depend on their code; all else stays. Raises StageNotWritten."""
    written: set[Part] = set()
    lines = list(_written(text.splitlines(), package, written))
    missing = [stage for stage in STAGES if stage not in written]
    if missing:
        raise StageNotWritten(f"dvc.yaml: no list of deps, one a line, under the stage {', '.join(missing)}; add it")
    return "\n".join(lines) + "\n"


def write_code_deps(path: Path) -> bool:
    """Bring the deps of a dvc.yaml up to date; False where they were. Raises StageNotWritten."""
    try:
        before = path.read_text(encoding="utf-8")
    except OSError as error:
        raise StageNotWritten(f"{path} cannot be read ({error.strerror}); run this where dvc.yaml is") from error
    after = with_code_deps(before)
    if after != before:
        write_text(path, after)
    return after != before


def named_parts(name: str | None) -> tuple[Part, ...]:
    """The part of that name; all that have a stage, and `score`, without one. Raises NoSuchPart."""
    known: tuple[Part, ...] = (*STAGES, "score")
    found = tuple(part for part in known if name in (None, part))
    if not found:
        raise NoSuchPart(f"no stage is called {name!r}; there are {', '.join(known)}")
    return found


def _written(lines: list[str], package: Path, written: set[Part]) -> Iterator[str]:
    known = {str(part): part for part in STAGES}
    stage: Part | None = None
    inside = False
    for line in lines:
        item = _ITEM.match(line) if inside else None
        if stage and inside and item is None:
            yield from (f"      - {path}" for path in code_deps(stage, package))
            written.add(stage)
        named = _STAGE.match(line)
        stage = known.get(named[1]) if named else stage
        inside = item is not None or (stage is not None and _DEPS.match(line) is not None)
        if item is None or not _is_code(item[1]):
            yield line


def _is_code(path: str) -> bool:
    return path == LOCK or SOURCES in PurePosixPath(path).parents
