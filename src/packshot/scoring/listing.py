"""What is in a batch: every file below a folder."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from packshot.catalog.image import BadImage, resolve_inside
from packshot.catalog.leftovers import Kind, PassedOver, is_left_folder
from packshot.catalog.shop.matching import KnownFiles, read_facts
from packshot.catalog.texts import row_text
from packshot.config import CatalogSettings
from packshot.errors import PackshotError
from packshot.progress import say

CATALOG_NAMES = ("catalog.csv", "catalog.tsv", "catalog.parquet")
"""What a catalogue beside the images is called; the first that is there counts."""
OUTPUT = ".shards/manifest.json"
"""What tells a folder that `packshot score` wrote."""


class EmptyBatch(PackshotError):
    """There is no file to work on."""


class BatchFolderMissing(PackshotError):
    """The folder of the batch does not exist, or is no folder."""


@dataclass(frozen=True)
class BatchFile:
    """One file of a batch. `path` is text for tables, POSIX and relative; `location` opens it."""

    path: str
    location: Path
    size: int
    modified_ns: int
    facts: Mapping[str, str | None] = field(default_factory=dict)
    """`sku`, `title`, `description`, `tags`, `sender`, `category` where a catalogue gives them."""
    changed_ns: int = 0
    """When the file system last saw a change, which no program can put back as it can `modified_ns`; 0 where unknown,
    as in an object store, where the store alone sets `modified_ns`."""
    inode: int = 0

    @property
    def stamp(self) -> str:
        """While this is the same, so is the content: nothing has written to the file, or put another in its place."""
        return f"{self.size} {self.modified_ns} {self.changed_ns} {self.inode}"

    def text(self) -> str | None:
        """What the shop says of the image in words, put together as for training; None where it says nothing."""
        return row_text({name: self.facts.get(name) for name in ("title", "description", "tags")})


@dataclass(frozen=True)
class BatchSource:
    """Where a batch lies. `root` is resolved; `catalog` is None where there is none; `only` are the files of a batch
    that is not all there is below `root`."""

    root: Path
    catalog: Path | None
    leave_out: frozenset[str]
    only: tuple[Path, ...] = field(default=(), kw_only=True)

    @property
    def address(self) -> str:
        """What absolute paths of its files begin with."""
        return str(self.root)

    def files(self) -> Iterator[BatchFile]:
        """Every file, in no order and without facts, as the folders are read.

        Left out: hidden files and folders (a name that starts with a dot), the catalogue, the output folder where it
        lies inside, and what `catalog.leftovers` knows as none of the shop's pictures: at the end it is told. Links to
        files are listed; a link to a folder that leads out, and a folder that may not be read, are listed as files that
        cannot be read; a link that stays inside is not followed (its files are listed where they are).
        """
        if self.only:
            yield from (_describe(self.root, str(path)) for path in self.only if str(path) not in self.leave_out)
            return
        passed = PassedOver()
        for found in _walk(self.root, self.leave_out, passed):
            yield _describe(self.root, found)
        passed.tell()

    def content_id(self, file: BatchFile, most: int) -> str | None:
        """sha256 hex of a file's bytes as they are now; None where it cannot be read, or has more than `most`."""
        try:
            path = resolve_inside(self.root, file.location.relative_to(self.root).as_posix())
            if not path.is_file() or path.stat().st_size > most:
                return None
            with path.open("rb") as handle:
                return hashlib.file_digest(handle, "sha256").hexdigest()
        except (OSError, BadImage):
            return None


def check_folder(directory: Path) -> None:
    """Raises BatchFolderMissing unless there is such a folder."""
    if not directory.is_dir():
        what = "is not a folder" if directory.exists() else "does not exist"
        raise BatchFolderMissing(f"{directory} {what}; name the folder that holds the images of the batch")


def open_batch(directory: Path, out: Path, catalog: Path | None, pictures: tuple[Path, ...] = ()) -> BatchSource:
    """The batch below `directory`, with `catalog` or else the one beside the images; of it only `pictures`, if given:
    absolute paths below it, whose folders are resolved.

    Raises BatchFolderMissing, EmptyBatch.
    """
    check_folder(directory)
    root = directory.resolve()
    beside = [directory / name for name in CATALOG_NAMES]
    chosen = catalog if catalog is not None else next((path for path in beside if path.is_file()), None)
    named = [out.resolve(), *(path.resolve() for path in (chosen,) if path), *(root / name for name in CATALOG_NAMES)]
    source = BatchSource(root, chosen, frozenset(map(str, named)), only=pictures)
    if next(source.files(), None) is None:
        raise EmptyBatch(f"{directory} holds no files to work on (hidden files and the catalogue do not count)")
    return source


def list_batch(directory: Path, out: Path, catalog: Path | None, columns: CatalogSettings) -> list[BatchFile]:
    """Every file of a batch with what the catalogue says of it, sorted by path: for batches that fit into memory.

    Raises BatchFolderMissing, EmptyBatch, CatalogUnreadable.
    """
    source = open_batch(directory, out, catalog)
    files = sorted(source.files(), key=lambda file: file.path)
    if source.catalog is None:
        return files
    facts = read_facts(source.catalog, columns, KnownFiles((file.path for file in files), source.address))
    return [replace(file, facts=facts.get(file.path, {})) for file in files]


def _walk(root: Path, leave_out: frozenset[str], passed: PassedOver) -> Iterator[str]:
    """Absolute paths. Open are only the folders on the way to where it is, so that memory does not grow."""
    open_folders = [_scan(str(root))]
    try:
        while open_folders:
            entry = next(open_folders[-1], None)
            if entry is None:
                open_folders.pop().close()
            elif entry.name.startswith(".") or entry.path in leave_out:
                continue
            elif not _is_folder(entry):
                if not passed.takes(os.path.relpath(entry.path, root)):
                    yield entry.path
            elif (kind := _kind_of_folder(entry)) is not None:
                passed.add(f"{os.path.relpath(entry.path, root)}/", kind)
            elif entry.is_symlink():
                yield from _leading_out(entry.path, root)
            elif os.access(entry.path, os.R_OK | os.X_OK):
                open_folders.append(_scan(entry.path))
            else:
                say(f"{os.path.relpath(entry.path, root)} is a folder that may not be read")
                yield entry.path
    finally:
        for folder in open_folders:
            folder.close()


def _kind_of_folder(entry: os.DirEntry[str]) -> Kind | None:
    """What a folder is where none of the shop's pictures lie in it; None where they may."""
    if is_left_folder(entry.name):
        return "left by systems"
    return "outputs of Packshot" if Path(entry.path, OUTPUT).exists() else None


def _scan(folder: str) -> os._ScandirIterator[str]:
    try:
        return os.scandir(folder)
    except OSError as error:
        raise BatchFolderMissing(f"the folder {folder} cannot be read: {error.strerror}") from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _leading_out(link: str, root: Path) -> Iterator[str]:
    if Path(link).resolve().is_relative_to(root):
        say(f"{os.path.relpath(link, root)} is a link to a folder of the batch; it is not followed")
    else:
        yield link


def _describe(root: Path, found: str) -> BatchFile:
    location = Path(found)
    # A name that is not UTF-8 cannot stand in a table; its odd bytes are spelt out as \xNN.
    path = os.fsencode(location.relative_to(root).as_posix()).decode("utf-8", "backslashreplace")
    try:
        status = location.stat()
    except OSError:
        return BatchFile(path, location, 0, 0)
    size, modified = (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else (0, 0)
    return BatchFile(path, location, size, modified, changed_ns=status.st_ctime_ns, inode=status.st_ino)
