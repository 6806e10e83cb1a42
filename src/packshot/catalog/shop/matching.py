"""The rows of a catalogue beside the files that there are: which row means which file, and what finds no other.

Paths in catalogues are written by other systems than the one that holds the files. Spellings that can mean only one
file are taken for it; anything else is not guessed but told, with the likely cause.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Protocol
from urllib.parse import unquote

from packshot.catalog.shop.catalogue import FACTS, CatalogRow, Facts, ShopCatalog, open_catalog
from packshot.catalog.shop.records import CatalogUnreadable
from packshot.config import CatalogSettings

NAMED = 5
"""Rows without a file, and files without a row, that are named."""
REMEMBERED = 10_000
"""Rows without a file among which the likely one is looked for that a file without a row misses."""


class Files(Protocol):
    """The image files that rows are matched with, named by their path below `root`."""

    @property
    def root(self) -> str:
        """The folder (or address) that holds them, which absolute paths may begin with; empty where unknown."""

    def find(self, name: str) -> str | None:
        """The file of that name, `name` being in NFC or exactly the file's."""

    def take(self, path: str, facts: Facts) -> bool:
        """Note what a row says of a file; False where an earlier row did, which counts."""

    def paths(self) -> Iterable[str]:
        """Every file, in order."""

    def without_row(self) -> Iterable[str]:
        """Those that no row was taken for, in order."""


class KnownFiles:
    """Files whose paths fit into memory."""

    def __init__(self, paths: Iterable[str], root: str = "") -> None:
        self.root = root
        self.facts: dict[str, Facts] = {}
        """What the first row for each file says."""
        self._paths = sorted(set(paths))
        exact = {path: path for path in self._paths}
        self._names = {composed(path): path for path in self._paths} | exact

    def find(self, name: str) -> str | None:
        return self._names.get(name)

    def take(self, path: str, facts: Facts) -> bool:
        return self.facts.setdefault(path, facts) is facts

    def paths(self) -> Iterable[str]:
        return self._paths

    def without_row(self) -> Iterable[str]:
        return (path for path in self._paths if path not in self.facts)


def composed(path: str) -> str:
    """A path in NFC, the form in which all but Apple's systems write `ü`."""
    return path if path.isascii() else unicodedata.normalize("NFC", path)


def spellings(written: str, root: str) -> Iterator[str]:
    """Names that a path in a catalogue may mean, surest first: as it is written; with `/` for `\\`, in NFC; relative to
    `root` where it is absolute and below; without a leading `./` or `/`."""
    yield written
    plain = composed(written.replace("\\", "/"))
    if plain != written:
        yield plain
    if root and plain.startswith(f"{composed(root)}/"):
        yield plain[len(composed(root)) + 1 :]
    elif root and plain.startswith("/") and (below := _followed(plain, root)) is not None:
        yield below
    cleaned = "/".join(part for part in plain.split("/") if part not in ("", "."))
    if cleaned != plain:
        yield cleaned


def _followed(absolute: str, root: str) -> str | None:
    """An absolute path relative to `root` where links lead there."""
    try:
        return Path(absolute).resolve().relative_to(root).as_posix()
    except (OSError, RuntimeError, ValueError):
        return None


def match(catalog: ShopCatalog, files: Files) -> Iterator[tuple[CatalogRow, str | None]]:
    """Each row with the file that it means, if there is one. Of two rows for one file the first is taken.

    At the end it is said how many rows found no file, how many files no row, and which were named twice. Raises
    CatalogUnreadable where no row at all has a file.
    """
    tally = _Tally()
    for row in catalog.rows():
        found = next((path for name in spellings(row.path, files.root) if (path := files.find(name)) is not None), None)
        if found is None:
            tally.miss(row)
        else:
            tally.hit(row, found, first=files.take(found, row.facts))
        yield row, found
    _tell(catalog, files, tally)


def read_facts(
    path: Path,
    settings: CatalogSettings,
    files: KnownFiles,
    wanted: Sequence[str] = FACTS,
    others: Sequence[str] = (),
) -> Mapping[str, Facts]:
    """What a catalogue says of each file that it names, in our columns `wanted` and its own columns `others`.

    Raises CatalogUnreadable; see `open_catalog` and `match`.
    """
    for _ in match(open_catalog(path, settings, wanted, others), files):
        pass
    return files.facts


@dataclass
class _Tally:
    rows: int = 0
    matched: int = 0
    again: list[tuple[CatalogRow, str]] = field(default_factory=list)
    again_count: int = 0
    missed: list[str] = field(default_factory=list)
    missed_count: int = 0

    def miss(self, row: CatalogRow) -> None:
        self.rows += 1
        self.missed_count += 1
        if len(self.missed) < REMEMBERED:
            self.missed.append(row.path)

    def hit(self, row: CatalogRow, found: str, *, first: bool) -> None:
        self.rows += 1
        self.matched += 1
        if not first:
            self.again_count += 1
            if not self.again:
                self.again.append((row, found))


def _tell(catalog: ShopCatalog, files: Files, tally: _Tally) -> None:
    where = files.root or "the files"
    below = f"below {files.root}" if files.root else "of those judged"
    if not tally.rows:
        raise CatalogUnreadable(f"empty catalogue: {catalog.path} has a header and no rows; add a row for each image")
    causes = _causes(tally.missed[:NAMED], files.paths()) if tally.missed else {}
    if not tally.matched:
        first, there = tally.missed[0], next(iter(files.paths()), None)
        raise CatalogUnreadable(
            f"no row of {catalog.path} names a file {below}: its first row names {first!r}, the first file there is "
            f"{there!r} ({causes[first]}). Mend the paths, which are relative to {where}"
        )
    if tally.missed_count:
        named = "; ".join(f"{path!r} ({causes[path]})" for path in tally.missed[:NAMED])
        catalog.say(f"{tally.missed_count} row(s) name no file {below}: {_more(named, tally.missed_count)}")
    if tally.again_count:
        row, found = tally.again[0]
        catalog.say(
            f"{tally.again_count} row(s) name a file that an earlier row names, which counts; the first is line "
            f"{row.line}, {found!r}"
        )
    _tell_files_without_row(catalog, files, tally)


def _tell_files_without_row(catalog: ShopCatalog, files: Files, tally: _Tally) -> None:
    named: list[str] = []
    count = 0
    for path in files.without_row():
        count += 1
        if len(named) < NAMED:
            named.append(path)
    if not count:
        return
    causes = _causes(named, tally.missed, of_a_row=True)
    told = "; ".join(f"{path!r} ({causes[path]})" for path in named)
    catalog.say(f"{count} file(s) have no row: {_more(told, count)}")


def _more(named: str, count: int) -> str:
    return named + (f"; and {count - NAMED} more" if count > NAMED else "")


# --- likely causes --------------------------------------------------------------------------------


def _causes(names: Sequence[str], others: Iterable[str], *, of_a_row: bool = False) -> Mapping[str, str]:
    """For each of a few names that found no other why that may be, by the nearest of `others`.

    `of_a_row`: the names are files and the others are rows; otherwise it is the other way round.
    """
    wanted: dict[str, list[str]] = {}
    for name in names:
        wanted.setdefault(_loose(name), []).append(name)
    best: dict[str, tuple[int, str]] = {}
    for other in others:
        for name in wanted.get(_loose(other), ()):
            rank, cause = _difference(name, other, of_a_row=of_a_row)
            if name not in best or rank < best[name][0]:
                best[name] = rank, cause
    none = "no row has a name like it" if of_a_row else "no file has a name like it"
    return {name: _alone(name) or (best[name][1] if name in best else none) for name in names}


def _loose(path: str) -> str:
    """The name of a file without its folder and ending, as it is compared in search of a cause."""
    name = path.replace("\\", "/").rsplit("/", 1)[-1]
    if not name.isascii() or "%" in name:
        name = unicodedata.normalize("NFKC", unquote(name))
    stem = name.rpartition(".")[0] or name
    return re.sub(r"[\s_-]+", "", stem.casefold())


def _difference(name: str, other: str, *, of_a_row: bool) -> tuple[int, str]:
    """How `name` differs from `other`, and a rank: the smaller, the likelier it is meant."""
    what = "the row" if of_a_row else "the file"
    ours, theirs = PurePosixPath(_plain(name)), PurePosixPath(_plain(other))
    same_folder = ours.parent == theirs.parent
    if same_folder and ours.suffix != theirs.suffix and ours.stem == theirs.stem:
        case = ours.suffix.casefold() == theirs.suffix.casefold()
        return 1, f"{what} {other!r} differs in {'upper and lower case' if case else 'its ending'}"
    if _plain(name).casefold() == _plain(other).casefold():
        return 0, f"{what} {other!r} differs in upper and lower case"
    if same_folder:
        return 2, f"{what} {other!r} is spelt otherwise"
    if ours.name == theirs.name:
        return 3, f"{what} {other!r} is in another folder"
    return 4, f"{what} {other!r} is in another folder and spelt otherwise"


def _plain(path: str) -> str:
    return composed(path.replace("\\", "/")).removeprefix("./").lstrip("/")


def _alone(path: str) -> str | None:
    """What is wrong with a path by itself."""
    if re.match(r"[a-z][a-z0-9+.-]*://", path, re.IGNORECASE):
        return "it is an address; the path of a file is expected"
    if ".." in PurePosixPath(path.replace("\\", "/")).parts:
        return "it leads out of the folder"
    return None
