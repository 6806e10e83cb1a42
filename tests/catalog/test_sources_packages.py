"""The packages source, from tiny Debian archives built here."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from packshot.catalog.sources import packages, stamps
from packshot.catalog.sources.declared import SetDeclaration
from packshot.catalog.sources.packages import PackageUnavailable, read_packages

STAMPS = SetDeclaration.model_validate(
    {
        "title": "stamps",
        "licence": "test",
        "stamps": {
            "package": "little-stamps",
            "folder": "usr/share/stamps",
            "categories": ["food"],
            "take": 10,
            "versions": 2,
            "flat_share": 0.1,
            "least_side": 60,
            "canvas": [80, 120],
        },
    }
)
ICONS = SetDeclaration.model_validate(
    {
        "title": "icons",
        "licence": "test",
        "styles": ["flat", "round"],
        "icons": {
            "themes": {
                "flat": {"package": "little-flat", "folder": "usr/share/icons/Flat"},
                "round": {"package": "little-round", "folder": "usr/share/icons/Round"},
            },
            "contexts": ["places"],
            "take": 5,
            "drawn_by": 2,
            "side": 64,
            "canvas": 80,
        },
    }
)


def photograph(path: Path, seed: int, size: tuple[int, int] = (70, 90)) -> None:
    pixels = np.random.default_rng(seed).integers(0, 255, (*size, 4), dtype=np.uint8)
    pixels[..., 3] = 255
    pixels[:10, :, 3] = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def drawing(path: Path, colour: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGBA", (90, 90), colour).save(path)


def vector(path: Path, shape: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'<svg xmlns="http://www.w3.org/2000/svg" width="48" height="48">{shape}</svg>')


def archive(tree: Path, package: str, downloads: Path) -> None:
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(
        f"Package: {package}\nVersion: 1.0\nArchitecture: all\n"
        "Maintainer: Nobody <nobody@localhost>\nDescription: test\n"
    )
    debs = downloads / "debs"
    debs.mkdir(parents=True, exist_ok=True)
    command = ["dpkg-deb", "--root-owner-group", "--build", str(tree), str(debs / f"{package}_1.0_all.deb")]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def downloads(tmp_path: Path) -> Path:
    food = tmp_path / "stamps/usr/share/stamps/food"
    photograph(food / "fruit/apple.png", 1)
    (food / "fruit/apple.txt").write_text("An apple.\nde.utf8=Ein Apfel.\n")
    photograph(food / "fruit/pear.png", 2)
    photograph(food / "fruit/pear_mirror.png", 3)
    photograph(food / "fruit/again.png", 1)
    photograph(food / "fruit/tiny.png", 4, size=(20, 20))
    drawing(food / "fruit/cartoon.png", "#f00")
    photograph(tmp_path / "stamps/usr/share/stamps/letters/a.png", 5)
    (food / "fruit/escape.png").symlink_to("/etc/hostname")
    archive(tmp_path / "stamps", "little-stamps", tmp_path / "downloads")

    flat, rounded = tmp_path / "flat/usr/share/icons/Flat", tmp_path / "round/usr/share/icons/Round"
    for thing in ("house", "shop"):
        vector(
            flat / f"places/48/{thing}.svg", f'<rect width="{40 if thing == "shop" else 20}" height="30" fill="#00f"/>'
        )
        drawing(rounded / f"64x64/places/{thing}.png", "#0f0" if thing == "shop" else "#080")
    (flat / "places/48/home.svg").symlink_to("house.svg")
    drawing(rounded / "64x64/places/home.png", "#222")
    vector(flat / "places/16/glyph.svg", '<rect width="9" height="9"/>')
    drawing(rounded / "64x64/places/glyph.png", "#333")
    vector(flat / "places/48/alone.svg", '<circle r="9"/>')
    archive(tmp_path / "flat", "little-flat", tmp_path / "downloads")
    archive(tmp_path / "round", "little-round", tmp_path / "downloads")
    return tmp_path / "downloads"


def test_photographs_are_degraded_and_scored_and_stay_one_group(downloads: Path) -> None:
    images = read_packages({"stamps": STAMPS}, downloads, seed=1).images
    names = {sku.split("/")[-1] for sku in images["sku"]}
    assert names in ({"apple", "pear"}, {"again", "pear"}), "drawings, small, doubled and mirrored ones are left out"
    for _, versions in images.groupby("sku"):
        pristine = versions[versions["subset"] == "pristine"]
        degraded = versions[versions["subset"] != "pristine"]
        assert pristine["quality_mos"].tolist() == [1.0] and len(degraded) == 2
        assert (degraded["quality_mos"] < 1).all() and (degraded["quality_mos"] >= 0).all()
    first = Image.open(images["origin"][0])
    assert first.mode == "RGB" and first.size == (103, 103) and first.getpixel((0, 0)) == (255, 255, 255)


def test_the_same_object_is_drawn_in_each_style_once(downloads: Path) -> None:
    images = read_packages({"icons": ICONS}, downloads, seed=1).images
    drawn = {name: set(rows["style"]) for name, rows in images.groupby("sku")}
    # `home` is another name of the house's drawing; one of the two may be taken, never both.
    assert drawn.keys() in ({"house", "shop"}, {"home", "shop"})
    assert all(styles == {"flat", "round"} for styles in drawn.values())
    for origin in images["origin"]:
        assert Image.open(origin).size == (80, 80)


def test_a_second_call_makes_nothing_and_the_same_bytes_come_again(
    downloads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets = {"stamps": STAMPS, "icons": ICONS}
    first = read_packages(sets, downloads, seed=1).images
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "debs").mkdir(parents=True)
    for deb in (downloads / "debs").glob("*.deb"):
        (elsewhere / "debs" / deb.name).write_bytes(deb.read_bytes())
    other = read_packages(sets, elsewhere, seed=1).images
    assert [Path(a).read_bytes() for a in first["origin"]] == [Path(b).read_bytes() for b in other["origin"]]
    monkeypatch.setattr(packages, "unpack", lambda *_: pytest.fail("unpacked again"))
    pd.testing.assert_frame_equal(read_packages(sets, downloads, seed=1).images, first)


def test_a_package_that_apt_does_not_know_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    apt = programs / "apt-get"
    apt.write_text("#!/bin/sh\necho 'E: Unable to locate package little-stamps' >&2\nexit 100\n")
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    with pytest.raises(PackageUnavailable, match=r"Unable to locate package.*apt-get update"):
        read_packages({"stamps": STAMPS}, tmp_path / "downloads", seed=1)
    apt.unlink()
    monkeypatch.setenv("PATH", str(programs))
    with pytest.raises(PackageUnavailable, match="not installed"):
        read_packages({"stamps": STAMPS}, tmp_path / "downloads", seed=1)


def test_a_damaged_archive_is_named(downloads: Path) -> None:
    (downloads / "debs/little-stamps_1.0_all.deb").write_bytes(b"no archive")
    with pytest.raises(PackageUnavailable, match=r"little-stamps_1\.0_all\.deb"):
        read_packages({"stamps": STAMPS}, downloads, seed=1)


def test_half_transparent_edges_blend_with_the_white_page() -> None:
    rgba = np.zeros((10, 10, 4), dtype=np.uint8)
    rgba[..., 3] = 128
    square = stamps.on_white(rgba, 20, 40)
    assert square.shape == (20, 20, 3) and square[0, 0].tolist() == [255, 255, 255]
    assert square[10, 10].tolist() == [127, 127, 127]
    shrunk = stamps.on_white(np.full((200, 100, 4), 255, dtype=np.uint8), 20, 40)
    assert shrunk.shape == (40, 40, 3)


def test_nothing_is_unpacked_outside_its_folder(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    photograph(tree / "usr/share/stamps/food/apple.png", 1)
    (tree / "usr/share/stamps/food/pomme.png").symlink_to("apple.png")
    (tree / "usr/share/stamps/food/secret.png").symlink_to("/etc/passwd")
    (tree / "usr/share/stamps/food/up.png").symlink_to("../../../../../outside.png")
    archive(tree, "links", tmp_path)
    (deb,) = (tmp_path / "debs").glob("*.deb")
    target = tmp_path / "unpacked"
    packages.unpack(deb, target, lambda path: path.suffix == ".png")
    food = target / "usr/share/stamps/food"
    assert sorted(path.name for path in food.iterdir()) == ["apple.png", "pomme.png"]
    assert (food / "pomme.png").read_bytes() == (food / "apple.png").read_bytes()
