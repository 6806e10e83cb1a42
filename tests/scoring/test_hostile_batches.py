"""A large batch with every kind of file that should not be there, and a catalogue of a million rows."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from sample_batch import make_batch, picture, save, scorer

from packshot.config import load_settings
from packshot.home import project_root
from packshot.scoring.batch import score

ROWS = 10_000
SCRIPTS = {
    "arabic": "كرسي خشبي",
    "chinese": "木椅子 🪑",
    "hindi": "लकड़ी की कुर्सी",
    "control": "a\x00b\x1f\u202e",
    "long": "word " * 2000,
}


def header_of(width: int, height: int) -> bytes:
    """The beginning of a PNG that claims to be so large."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    packed = zlib.compress(b"\0" * 1000)
    data = struct.pack(">I", len(packed)) + b"IDAT" + packed + struct.pack(">I", zlib.crc32(b"IDAT" + packed))
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data


def make_bad(folder: Path, elsewhere: Path) -> dict[str, str | None]:
    """Odd and bad files, and the code of the error that each should have."""
    good = save(folder / "good.jpg", picture(200), quality=95)
    save(elsewhere, picture(100))
    save(folder / "black.png", np.zeros((64, 64, 3), np.uint8))
    save(folder / "white.png", np.full((64, 64, 3), 255, np.uint8))
    save(folder / "pixel.png", picture(90, size=(1, 1)))
    save(folder / "line.png", picture(90, size=(1, 5000)))
    Image.new("1", (12_000, 9000)).save(folder / "huge.png")
    save(folder / "grey.png", picture(128)[..., 0])
    save(folder / "alpha.png", np.dstack([picture(128), np.zeros((48, 64), np.uint8)]))
    Image.fromarray(picture(120)).convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(picture(120)[..., 0].astype(np.uint16) * 257).save(folder / "deep.png")
    for name, text in SCRIPTS.items():
        save(folder / f"text-{name}.png", picture(200))
        assert text
    (folder / "cut.jpg").write_bytes(good.read_bytes()[:700])
    (folder / "empty.jpg").touch()
    (folder / "words.png").write_text("not a picture")
    (folder / "page.jpg").write_bytes(b"%PDF-1.7 ...")
    shutil.copy(folder / "black.png", folder / "really-a-png.jpg")
    (folder / "bomb.png").write_bytes(header_of(60_000, 60_000))
    (folder / "lying.png").write_bytes(header_of(400, 400))
    (folder / "out.png").symlink_to(elsewhere)
    (folder / "dangling.png").symlink_to(folder / "nothing.png")
    (folder / "loop.png").symlink_to("loop.png")
    os.mkfifo(folder / "pipe.png")
    (folder / os.fsdecode(b"odd-\xff\n.png")).write_bytes(good.read_bytes())
    bad = {"pixel.png": "too_small", "line.png": "too_small", "huge.png": "too_many_pixels", "cut.jpg": "truncated"}
    bad |= {"empty.jpg": "empty_file", "words.png": "not_an_image", "page.jpg": "unsupported_format"}
    bad |= {"bomb.png": "too_many_pixels", "lying.png": "truncated", "out.png": "outside_root"}
    bad |= {"dangling.png": "missing_file", "loop.png": "outside_root", "pipe.png": "missing_file"}
    return bad


def test_bad_files_in_a_batch_of_ten_thousand_are_the_rows_with_errors(tmp_path: Path) -> None:
    settings, folder = load_settings(project_root() / "params.yaml"), tmp_path / "in"
    bad = make_bad(folder, tmp_path / "elsewhere.png")
    filler = save(tmp_path / "filler.png", picture(200, size=(40, 40)))
    texts = pd.DataFrame({"path": [f"text-{name}.png" for name in SCRIPTS], "title": list(SCRIPTS.values())})
    texts.to_csv(folder / "catalog.csv", index=False)
    number = 0
    for number in range(ROWS - len(list(folder.iterdir())) + 1):
        target = folder / f"{number % 50}" / f"{number}.png"
        target.parent.mkdir(exist_ok=True)
        os.link(filler, target)
    report = score(settings, folder, tmp_path / "out", scorer=scorer())
    rows = pd.read_parquet(tmp_path / "out/verdicts.parquet").set_index("path")
    assert report.rows == len(rows) == len(set(rows.index)) == ROWS
    errors = rows.error.dropna()
    assert {path: error.split(":")[0] for path, error in errors.items()} == bad and report.errors == len(bad)
    assert rows[rows.error.isna()].quality.between(0, 1).all() and set(rows[rows.error.notna()].decision) == {"reject"}
    titles = rows.title.dropna()
    assert titles["text-arabic.png"] == SCRIPTS["arabic"] and len(titles["text-long.png"]) == 9999
    assert rows.index.is_monotonic_increasing and "odd-\\xff\n.png" in rows.index


MEASURED = """
import json, sys
from pathlib import Path
sys.path[:0] = [{tests!r}]
from sample_batch import scorer
from packshot.config import load_settings
from packshot.home import project_root
from packshot.scoring.batch import plan_batch, score

def resident(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))

before = resident("VmRSS")
settings = load_settings(project_root() / "params.yaml")
plan_batch(settings, Path({folder!r}), Path({out!r}), scorer())
print(json.dumps(resident("VmHWM") - before))
score(settings, Path({folder!r}), Path({out!r}), scorer=scorer())
"""


def test_a_catalogue_of_a_million_rows_with_a_broken_one_in_the_middle_fits_into_little_memory(tmp_path: Path) -> None:
    folder, out = make_batch(tmp_path / "in", 3), tmp_path / "out"
    with (folder / "catalog.csv").open("w", encoding="utf-8") as handle:
        handle.write("path,sku,title,sender,category\nshop/item000.png,first,A,s,c\n")
        for number in range(1_000_000):
            handle.write(f"shop/other{number * 7919 % 1_000_003}.jpg,{number},Item {number},sender{number % 97},Lamp\n")
            if number == 500_000:
                handle.write('shop/item001.png,broken,"never closed\n')
        handle.write("shop/item002.png,last,Z,s,c\nshop/item000.png,later,Z,s,c\n")
    code = MEASURED.format(tests=str(Path(__file__).parent), folder=str(folder), out=str(out))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "1 line(s)" in done.stderr and "line 500004" in done.stderr
    assert "1000000 row(s) name no file below" in done.stderr
    assert list(pd.read_parquet(out / "verdicts.parquet").sku.fillna("-")) == ["first", "-", "last"]
    assert json.loads(done.stdout) < 60, "MiB"
