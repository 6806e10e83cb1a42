"""The model that comes with the package: a bundle in one file, used where a shop has no champion of its own."""

from __future__ import annotations

import hashlib
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import safe_open
from safetensors.numpy import save

from packshot.errors import PackshotError
from packshot.files import OutputNotWritable, atomic_folder, write_bytes
from packshot.home import Home

ARCHIVE = Path(__file__).parent / "starter.zip"
CARD = "CARD.md"
HALVED = "weights.safetensors"
"""What finds faults and tells gains stays as it is: sums of many large weights of both signs do not survive that."""
SMALLEST_HALVED = 65536
"""Numbers from which on an array is kept in half precision: the others weigh little, and decide much."""
LARGEST = 6e4
"""Absolute value up to which half precision holds a number."""
MADE = (1980, 1, 1, 0, 0, 0)
"""The date of every file in the archive: the same bundle gives the same bytes."""


class StarterDamaged(PackshotError):
    """The archive that came with the package is missing or cut short."""

    exit_code = 66


def starter_bundle(archive: Path = ARCHIVE) -> Path:
    """The folder of the starter's bundle, unpacked below PACKSHOT_HOME the first time, by its digest.

    Where nothing can be written there, in a folder of this process. Raises StarterDamaged.
    """
    if not archive.is_file():
        raise StarterDamaged(f"this installation has no starter model ({archive}); install the package again")
    target = Home.from_environment().models / f"starter-{_digest(archive)[:32]}"
    if target.is_dir() and _as_packed(archive, target):
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_folder(target) as building:
            _unpack(archive, building)
    except (OSError, OutputNotWritable):
        return _unpacked_here(archive)
    return target


def pack(bundle: Path, card: str, archive: Path) -> None:
    """Write a bundle folder and its model card into `archive`; large arrays are kept in half precision."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="packshot-pack-") as scratch:
        made = Path(scratch) / archive.name
        with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as target:
            for name, content in [*_contents(bundle), (CARD, card.encode())]:
                target.writestr(zipfile.ZipInfo(name, MADE), content, zipfile.ZIP_DEFLATED)
        write_bytes(archive, made.read_bytes())


def card_of(archive: Path = ARCHIVE) -> str:
    """The model card, Markdown. Raises StarterDamaged."""
    return _read(archive, CARD).decode()


def _contents(bundle: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(each for each in bundle.iterdir() if each.is_file() and each.name != CARD):
        yield path.name, _halved(path) if path.name == HALVED else path.read_bytes()


def _halved(path: Path) -> bytes:
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
        arrays = {name: _half(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
    return bytes(save(arrays, metadata=metadata))


def _half(values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    large = values.dtype == np.float32 and values.size >= SMALLEST_HALVED
    return values.astype(np.float16) if large and np.abs(values).max() <= LARGEST else values


@cache
def _digest(archive: Path) -> str:
    return hashlib.sha256(archive.read_bytes()).hexdigest()


def _unpack(archive: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(archive) as source:
            names = [name for name in source.namelist() if name != CARD]
            for name in names:
                write_bytes(folder / Path(name).name, source.read(name))
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError) as error:
        raise StarterDamaged(f"{archive} is damaged ({error}); install the package again") from error


def _as_packed(archive: Path, folder: Path) -> bool:
    """Whether the folder holds the files of the archive, byte for byte by their checksums, and no others."""
    try:
        with zipfile.ZipFile(archive) as source:
            packed = {each.filename: each.CRC for each in source.infolist() if each.filename != CARD}
        return {path.name: zlib.crc32(path.read_bytes()) for path in folder.iterdir()} == packed
    except zipfile.BadZipFile as error:
        raise StarterDamaged(f"{archive} is damaged ({error}); install the package again") from error


def _read(archive: Path, name: str) -> bytes:
    try:
        with zipfile.ZipFile(archive) as source:
            return source.read(name)
    except (OSError, zipfile.BadZipFile, zlib.error, KeyError) as error:
        raise StarterDamaged(f"{archive} is damaged or missing ({error}); install the package again") from error


@cache
def _scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="packshot-starter-")


@cache
def _unpacked_here(archive: Path) -> Path:
    folder = Path(_scratch().name) / _digest(archive)[:32]
    folder.mkdir()
    _unpack(archive, folder)
    return folder
