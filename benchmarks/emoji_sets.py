"""Emoji sets for the benchmark of style: the same objects as several hands draw them, on white.

The drawings come from npm packages of SVG, pinned by version and digest. Licences of the drawings: noto Apache-2.0,
twemoji CC-BY-4.0, openmoji CC-BY-SA-4.0, fluent-emoji and fluent-emoji-flat MIT, emojione CC-BY-4.0. Nothing of them is
part of this project.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import tarfile
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import resvg_py

from packshot.errors import PackshotError
from packshot.files import write_bytes
from packshot.progress import say

Pixels = npt.NDArray[np.uint8]
REGISTRY = "https://registry.npmjs.org"
"""Where packages are fetched from; the variable NPM_CONFIG_REGISTRY names another."""
SCOPE = "@iconify-json"
MEMBER = "package/icons.json"
TIMEOUT_S = 60
DEFAULT_SIDE = 16
"""Units of a drawing's side where its set does not say: what the format lays down."""


class EmojiUnavailable(PackshotError):
    """A package of drawings cannot be fetched, or is not the one that is pinned."""


@dataclass(frozen=True)
class Package:
    """A pinned npm package: `integrity` is the sha512 of its archive, in base64, as registries state it."""

    version: str
    integrity: str


PACKAGES: Mapping[str, Package] = {
    "noto": Package(
        "1.2.9", "DQiuXENbun41ch+XPSV55H9FaWKpHTyz46YIKtSaKYD4fIDDzL1tR6H4np/T38jfrTAeI3rcKF0mqHYeZVAuaw=="
    ),
    "twemoji": Package(
        "1.2.5", "uKpuIEV0v6K5BW3Mjdyl+XKFVAbbcPxAgifKvEMtZoUZB5+YiY5zaMm2uNNCxyXzAWU9yNLlj41WU6/mvgALsw=="
    ),
    "openmoji": Package(
        "1.2.29", "vXdhkqcXVSO6suy+m9LbcUM3OdVyuNOtpV8/als/WqfkQIRxevL5Geb/g+6GH/Qwnq1OqksEmaDGTCmZ5nFKJQ=="
    ),
    "fluent-emoji": Package(
        "1.2.7", "D8G6bKAyIsyxP1rzZtIWr/gg/fO4Rg1+DyCWlfqKK4h8W+4Em/Y0P6QYgJUQTlUcagzJvSyg+9OBv4hz4Hc/QA=="
    ),
    "fluent-emoji-flat": Package(
        "1.2.6", "RY47RgPb47fYUiyrA64sIOL0+UU02s29sXpNBbIQRBUlPlfNFTKUmZDERGuxDs/7yNGWqQYvuaSYM1M4fRXlUw=="
    ),
    "emojione": Package(
        "1.2.3", "T9+T3HIbJNLKKsmxYKlaYhvnHYkz/HNYTV7SHCXVZPfeUi4FqskY70YeN8yYAZT8cCv7w5vJxS4Q1m8zb9CMMg=="
    ),
}


@dataclass(frozen=True)
class Drawing:
    """SVG without its outermost element, and the width and height of its canvas in its own units."""

    body: str
    width: float
    height: float


@dataclass(frozen=True)
class EmojiSet:
    """Drawings by name, and for other names the one they stand for."""

    drawings: Mapping[str, Drawing]
    aliases: Mapping[str, str]

    @classmethod
    def read(cls, icons: Mapping[str, Any]) -> EmojiSet:
        """From the contents of a package's icons.json. Withdrawn drawings and mirrored or turned aliases are left
        out."""
        drawings = {
            name: Drawing(
                icon["body"],
                icon.get("width", icons.get("width", DEFAULT_SIDE)),
                icon.get("height", icons.get("height", DEFAULT_SIDE)),
            )
            for name, icon in icons["icons"].items()
            if not icon.get("hidden")
        }
        aliases = {
            name: alias["parent"]
            for name, alias in icons.get("aliases", {}).items()
            if not {"rotate", "hFlip", "vFlip"} & set(alias)
        }
        return cls(drawings, aliases)


def emoji_sets(folder: Path) -> dict[str, EmojiSet]:
    """All sets by name; packages that are not below `folder` are fetched. Raises EmojiUnavailable."""
    return {name: _read(fetch(name, package, folder)) for name, package in PACKAGES.items()}


def fetch(name: str, package: Package, folder: Path) -> Path:
    """The package's archive below `folder`, fetched where it is not there. Raises EmojiUnavailable."""
    target = folder / f"{name}-{package.version}.tgz"
    if not target.exists():
        registry = os.environ.get("NPM_CONFIG_REGISTRY", REGISTRY).rstrip("/")
        address = f"{registry}/{SCOPE}/{name}/-/{target.name}"
        say(f"emoji: fetching {SCOPE}/{name} {package.version}")
        try:
            with urllib.request.urlopen(address, timeout=TIMEOUT_S) as answer:
                content = answer.read()
        except OSError as error:
            raise EmojiUnavailable(
                f"cannot fetch {address}: {error}. Name a registry that this machine reaches in NPM_CONFIG_REGISTRY, "
                f"or put the archive at {target}."
            ) from error
        write_bytes(target, content)
    digest = base64.b64encode(hashlib.sha512(target.read_bytes()).digest()).decode()
    if digest != package.integrity:
        raise EmojiUnavailable(f"{target} is not the archive that is pinned; delete it and run the command again")
    return target


def _read(archive: Path) -> EmojiSet:
    with tarfile.open(archive) as contents:
        member = contents.extractfile(MEMBER)
        assert member is not None
        return EmojiSet.read(json.load(member))


def shared_objects(sets: Iterable[EmojiSet]) -> list[tuple[str, ...]]:
    """The objects that every set draws, each as the name of its drawing in every set, in the order of the sets.

    Names that any set takes for the same object are the same to all, since the sets name after different years of one
    standard. An object that a set draws more than once under such names is left out: the names are then not the same.
    """
    known = list(sets)
    same: dict[str, str] = {}
    for each in known:
        for name, parent in each.aliases.items():
            first, second = sorted((_root(same, name), _root(same, parent)))
            if first != second:
                same[second] = first
    drawn: dict[str, list[tuple[int, str]]] = {}
    for place, each in enumerate(known):
        for name in each.drawings:
            drawn.setdefault(_root(same, name), []).append((place, name))
    whole = [place for place, _ in enumerate(known)]
    return [tuple(name for _, name in drawn[key]) for key in sorted(drawn) if [at for at, _ in drawn[key]] == whole]


def _root(same: Mapping[str, str], name: str) -> str:
    while name in same:
        name = same[name]
    return name


def as_svg(drawing: Drawing) -> str:
    """A whole SVG document: the drawing in the middle of a square."""
    extent = max(drawing.width, drawing.height)
    left, top = (drawing.width - extent) / 2, (drawing.height - extent) / 2
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{left} {top} {extent} {extent}">{drawing.body}</svg>'
    )


def rendered(svg: str, side: int) -> Pixels:
    """A square SVG document on white, uint8, side x side x 3, RGB; `side` in pixels."""
    png = resvg_py.svg_to_bytes(svg_string=svg, width=side, height=side, background="white", skip_system_fonts=True)
    pixels = cv2.imdecode(np.frombuffer(bytes(png), np.uint8), cv2.IMREAD_COLOR_RGB)
    assert pixels is not None
    return np.asarray(pixels, dtype=np.uint8)
