"""What a user names to be judged, a folder or pictures, and where the verdicts go if nobody says."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from packshot.errors import PackshotError
from packshot.scoring.bucket import is_address
from packshot.scoring.listing import check_folder


class WrongPictures(PackshotError):
    """What was named is neither one folder nor a number of files."""

    exit_code = 2


class NoFolderBeside(PackshotError):
    """The verdicts cannot go beside the pictures."""

    exit_code = 73


@dataclass(frozen=True)
class Named:
    """A folder (or its address in an object store), all of it or only `pictures`, which are files below it."""

    directory: str
    pictures: tuple[Path, ...] = ()


def named(names: Sequence[str]) -> Named:
    """One folder or address, or any number of files with the folder that holds them all.

    A single name of nothing is taken for a folder that is missing. Raises WrongPictures, BatchFolderMissing.
    """
    if len(names) == 1 and not Path(names[0]).is_file():
        if not is_address(names[0]):
            check_folder(Path(names[0]))
        return Named(names[0])
    files = tuple(sorted({_file(name) for name in names}))
    return Named(os.path.commonpath([file.parent for file in files]), files)


def _file(name: str) -> Path:
    path = Path(name)
    if is_address(name) or path.is_dir():
        raise WrongPictures(f"{name} is a folder among other names; name one folder, or one or several picture files")
    if not path.is_file():
        raise WrongPictures(f"{name} is no file; name one folder, or one or several picture files")
    return path.parent.resolve() / path.name


def place_for(what: Named, out: str | None) -> str:
    """The output folder: `out`, else one beside the folder that is named.

    Some pictures of a folder get one for themselves, so that they are not taken for what is left of the folder.
    Raises NoFolderBeside, WrongPictures.
    """
    if out is None:
        return str(_beside(what))
    if what.pictures and is_address(out):
        raise WrongPictures(f"single pictures are not scored into {out}; name their folder, or a folder as --out")
    return out


def _beside(what: Named) -> Path:
    if is_address(what.directory):
        raise NoFolderBeside(f"the verdicts of {what.directory} need a place: say --out FOLDER, or --out ADDRESS")
    folder = Path(what.directory).resolve()
    target = folder.parent / f"{folder.name}{_which(what)}-verdicts"
    if not folder.name:
        raise NoFolderBeside(f"there is no folder beside {folder} for the verdicts; say where with --out FOLDER")
    if folder.is_dir() and not _writable(target):
        raise NoFolderBeside(f"{target} cannot be written; say where the verdicts go with --out FOLDER")
    return target


def _which(what: Named) -> str:
    if not what.pictures:
        return ""
    names = "\0".join(file.relative_to(what.directory).as_posix() for file in what.pictures)
    return f"-{len(what.pictures)}-{hashlib.sha256(os.fsencode(names)).hexdigest()[:6]}"


def _writable(target: Path) -> bool:
    if target.exists():
        return target.is_dir() and os.access(target, os.W_OK | os.X_OK)
    return os.access(target.parent, os.W_OK | os.X_OK)
