"""What stands beside pictures is passed over and told; what may be a picture is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from packshot.catalog.leftovers import kind_of
from packshot.scoring.listing import open_batch


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("@eaDir/a.jpg/SYNOPHOTO_THUMB_XL.jpg", "left by systems"),
        ("shoes/__MACOSX/._a.jpg", "left by systems"),
        ("#recycle/a.jpg", "left by systems"),
        ("shoes/Thumbs.db", "left by systems"),
        ("DESKTOP.INI", "left by systems"),
        ("a.jpg.part", "left by systems"),
        ("a.psd~", "left by systems"),
        ("spec sheet.PDF", "no pictures"),
        ("clip.mp4", "no pictures"),
        ("IMG_1.xmp", "no pictures"),
        ("@__thumb/a.jpg", "left by systems"),
        ("shoes/SYNOPHOTO_THUMB_M.jpg", "left by systems"),
        ("a.jpg@SynoEAStream", "left by systems"),
        ("AlbumArt_{B5020207}_Large.jpg", "left by systems"),
        ("a.jpg:Zone.Identifier", "left by systems"),
        ("~$prices.xlsx", "left by systems"),
        ("FOUND.000/FILE0000.CHK", "left by systems"),
        ("Previews.lrdata/1/a.jpg", "left by systems"),
        ("a.jpg.filepart", "left by systems"),
        ("README", "no pictures"),
        ("sums.md5", "no pictures"),
        ("albumart.jpg", None),
        ("scan.001", None),
        ("found/a.jpg", None),
        ("a.jpg", None),
        ("a.heic", None),
        ("raw.dng", None),
        ("drawing.svg", None),
        ("no ending", None),
        ("eaDir/a.jpg", None),
        ("thumbs/a.jpg", None),
        ("pdf", None),
    ],
)
def test_names_are_told_apart(path: str, kind: str | None) -> None:
    assert kind_of(path) == kind


def test_a_walk_passes_over_and_tells_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.jpg", "b/c.png", "@eaDir/a.jpg/SYNOPHOTO_THUMB_XL.jpg", "Thumbs.db", "readme.txt", "b/odd"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(b"x")
    source = open_batch(tmp_path / "in", tmp_path / "out", None)
    assert "passed over" not in capsys.readouterr().err, "only a whole walk knows how many"
    assert sorted(file.path for file in source.files()) == ["a.jpg", "b/c.png", "b/odd"]
    said = capsys.readouterr().err
    assert "2 left by systems (" in said and "@eaDir/" in said and "1 no pictures (readme.txt)" in said
