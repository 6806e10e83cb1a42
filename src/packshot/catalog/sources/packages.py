"""Debian packages as a source: fetched and unpacked without root, made into labelled images once, then kept."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import pandas as pd

from packshot.catalog.source_record import SourceError
from packshot.catalog.sources import icons, stamps
from packshot.catalog.sources.declared import SetDeclaration
from packshot.catalog.sources.table import COLUMNS, SetFacts, SourceTable, stack
from packshot.closure import code_digest
from packshot.progress import say

Make = Callable[[str, SetDeclaration, Mapping[str, Path], Path, int], pd.DataFrame]
"""(set, declaration, package to unpacked folder, folder for images, seed) -> rows; `origin` relative to the folder."""
Wanted = Callable[[PurePosixPath], bool]
"""Whether a file of a package is needed."""
LABEL_FILE = "labels.parquet"
FETCH_TIMEOUT_S = 1800
HINTS = {
    "apt-get": "If apt does not know the package, its lists are missing: run `apt-get update` as root once, "
    "or put the .deb file into downloads/packages/debs of PACKSHOT_HOME.",
    "dpkg-deb": "Delete the archive and run the command again; it is fetched anew.",
}


class PackageUnavailable(SourceError):
    """A Debian package could not be fetched or unpacked."""


def read_packages(sets: Mapping[str, SetDeclaration], downloads: Path, seed: int) -> SourceTable:
    """The labelled images made out of the packages of these sets.

    Packages and finished images stay below `downloads`, so that a second call fetches and makes nothing.
    Raises PackageUnavailable where a package is neither there nor to be had.
    """
    frames, facts = [], {}
    for name, declared in sets.items():
        make, packages = _maker(name, declared)
        archives = {package: fetch(package, downloads / "debs") for package in packages}
        digests = {package: hashlib.sha256(archive.read_bytes()).hexdigest() for package, archive in archives.items()}
        folder = downloads / "made" / f"{name}-{_key(name, declared, digests, seed)}"
        if not (folder / LABEL_FILE).exists():
            with _unpacked(archives, packages, folder.parent) as trees:
                _make(make, name, declared, trees, folder, seed)
        rows = pd.read_parquet(folder / LABEL_FILE)
        frames.append(rows.assign(origin=[str(folder / origin) for origin in rows["origin"]]))
        facts[name] = SetFacts(
            address=", ".join(archive.name.removesuffix(".deb") for archive in archives.values()),
            licence=declared.licence,
            labels_sha256=hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest(),
            styles=declared.styles,
        )
    return SourceTable(stack(frames), facts)


def fetch(package: str, folder: Path) -> Path:
    """The package's archive in `folder`, fetched by apt where it is not there. Needs no root.

    apt checks the archive against the signed package lists. Raises PackageUnavailable.
    """
    folder.mkdir(parents=True, exist_ok=True)
    there = sorted(folder.glob(f"{package}_*.deb"))
    if there:
        return there[-1]
    say(f"packages: fetching {package}")
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as temporary:
        _run("apt-get", "-q", "download", package, folder=Path(temporary), package=package)
        fetched = sorted(Path(temporary).glob(f"{package}_*.deb"))
        if not fetched:
            raise PackageUnavailable(f"`apt-get download {package}` brought no archive")
        return fetched[0].rename(folder / fetched[0].name)


def unpack(archive: Path, folder: Path, wanted: Wanted) -> None:
    """Unpack the `wanted` files of a Debian archive into `folder`; no script of the package runs.

    Links that lead out of `folder` are left out. Raises PackageUnavailable for a damaged archive.
    """
    folder.mkdir(parents=True, exist_ok=True)
    plain = folder.parent / f".{folder.name}.tar"
    try:
        _run("dpkg-deb", "--fsys-tarfile", str(archive), folder=folder, package=archive.name, output=plain)
        with tarfile.open(plain) as contents:
            for member in [each for each in contents if wanted(PurePosixPath(each.name))]:
                _place(contents, member, folder.resolve())
    except tarfile.TarError as error:
        raise PackageUnavailable(f"{archive} is damaged ({error}); delete it and run the command again") from error
    finally:
        plain.unlink(missing_ok=True)


def _place(contents: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    """One file or link of an archive below `folder`; nothing where it would lie, or lead, outside.

    Python before 3.11.4, which Debian 12 has, knows no extraction filters.
    """
    target = folder / member.name
    if not _inside(target.parent, folder) or member.isdir():
        return
    target.unlink(missing_ok=True)
    if member.issym():
        if _inside(target.parent / member.linkname, folder):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(member.linkname)
        return
    source = contents.extractfile(member) if member.isfile() or member.islnk() else None
    if source is not None:
        target.parent.mkdir(parents=True, exist_ok=True)
        with source, open(target, "wb") as copy:
            shutil.copyfileobj(source, copy)


def _inside(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder)


def _maker(name: str, declared: SetDeclaration) -> tuple[Make, dict[str, Wanted]]:
    """What makes the set, and for each package which of its files that needs."""
    if declared.stamps is not None:
        return stamps.make, stamps.wanted(declared.stamps)
    if declared.icons is not None:
        return icons.make, icons.wanted(declared.icons)
    raise SourceError(f"the set {name} has neither `stamps` nor `icons` in the declaration of sources; give it one")


def _key(name: str, declared: SetDeclaration, digests: Mapping[str, str], seed: int) -> str:
    """12 hex digits over everything that the images depend on, the code included."""
    digest = hashlib.sha256(
        json.dumps([name, declared.model_dump(mode="json"), digests, seed], sort_keys=True).encode()
    )
    digest.update(code_digest(stamps.__name__, icons.__name__).encode())
    return digest.hexdigest()[:12]


@contextmanager
def _unpacked(archives: Mapping[str, Path], wanted: Mapping[str, Wanted], beside: Path) -> Iterator[dict[str, Path]]:
    beside.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unpacked-", dir=beside) as temporary:
        trees = {package: Path(temporary) / package for package in archives}
        for package, archive in archives.items():
            say(f"packages: unpacking {archive.name}")
            unpack(archive, trees[package], wanted[package])
        yield trees


def _make(make: Make, name: str, declared: SetDeclaration, trees: Mapping[str, Path], folder: Path, seed: int) -> None:
    """Make the set in a folder beside `folder`, then put it in the place of whatever was made before."""
    with tempfile.TemporaryDirectory(prefix=".making-", dir=folder.parent) as temporary:
        made = Path(temporary) / "made"
        made.mkdir()
        rows = make(name, declared, trees, made, seed)
        rows[list(COLUMNS)].to_parquet(made / LABEL_FILE, index=False)
        for stale in folder.parent.glob(f"{name}-*"):
            shutil.rmtree(stale)
        made.rename(folder)


def _run(program: str, *arguments: str, folder: Path, package: str, output: Path | None = None) -> None:
    """Run a Debian tool, its output to the file `output`. Raises PackageUnavailable with what it said."""
    try:
        with open(output or os.devnull, "wb") as sink:
            done = subprocess.run(
                [program, *arguments],
                cwd=folder,
                stdout=sink,
                stderr=subprocess.PIPE,
                stdin=subprocess.DEVNULL,
                timeout=FETCH_TIMEOUT_S,
                check=False,
            )
    except FileNotFoundError as error:
        raise PackageUnavailable(
            f"{program} is not installed: the packages source needs a Debian system; "
            "choose PACKSHOT_SOURCE=mirror or public elsewhere"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise PackageUnavailable(f"{program} took more than {FETCH_TIMEOUT_S} s for {package}") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise PackageUnavailable(
            f"{program} failed for {package}: {said[-1] if said else f'exit code {done.returncode}'}. "
            f"{HINTS.get(program, '')}"
        )
