"""Make the pictures of the README from garments under CC0, none of which shows a person: `make screenshots`.

Everyday damage is planted on some of them, the starter judges and repairs, and the page and the desk are opened in
Chromium. Needs the local mirror or a folder of the collection (PACKSHOT_MIRROR), and a Chromium on PATH.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
from playwright.sync_api import sync_playwright

from packshot.catalog.image import ImageLimits, decode
from packshot.config import load_settings
from packshot.degrade.everyday import Plan, damaged

ROOT = Path(__file__).parents[1]
OUT = ROOT / "docs" / "images"
WIDTH, HEIGHT = 1180, 1000
PLANTED: dict[str, tuple[str, float] | None] = {
    "d9cf6f6d-820e-4ec9-a5ad-4be0e2df3976.jpg": ("dark", 1.8),
    "e298a2d4-3b7b-4b01-a631-f409ff268831.jpg": None,
    "f207a364-bb40-42cd-a764-a2b9896705df.jpg": ("cast", 0.25),
    "42762722-3b6d-40a7-b5f0-9d1582149716.jpg": ("flat", 0.45),
    "ba724b12-489f-45b4-bed0-c6c152f8c142.jpg": None,
    "62c6229a-59c1-4c1b-aecf-44c3779129e5.jpg": ("noise", 18),
    "e1e4439e-e588-4796-b418-be35756edc45.jpg": None,
    "4e620c49-948c-4cb2-9164-09853d82b816.jpg": ("jpeg", 10),
    "788d20a1-ad98-46fe-b80d-af9fd32a4e0f.jpg": ("blur", 1.6),
    "71b5444e-871f-40ce-bcd9-38fb85e193bd.jpg": None,
    "0fd555fa-ad38-4daa-98cc-ad25382a4f26.jpg": ("cast", 0.3),
    "2c2188ab-3a18-4d1c-9103-f1d109061cc3.jpg": None,
    "986d3a7e-d9e0-4c7b-a317-560797873433.jpg": ("dark", 2.2),
    "6a6f9545-c2bd-4c2f-aaf0-3e480ad120f1.jpg": ("flat", 0.5),
    "2126322b-b4eb-4410-988a-9261155c017a.jpg": ("jpeg", 8),
    "910268c2-a132-4d25-80b1-59812c52e65c.jpg": None,
    "a63c123e-e19c-4599-b2fe-eeac943731b7.jpg": ("noise", 14),
    "249788eb-c7d1-470e-8872-196e9010db7b.jpg": None,
}
"""Pictures of the collection, and the damage that is planted on each."""


def plant(photos: Path, limits: ImageLimits) -> None:
    """Write the pictures, damaged as PLANTED says."""
    source = Path(os.environ.get("PACKSHOT_MIRROR", ROOT.parent / "shared" / "data")) / "clothing" / "images"
    for number, (name, damage) in enumerate(PLANTED.items()):
        image = decode(source / name, limits)
        if damage is not None:
            image = damaged(image, Plan(damage[0], (damage,)), seed=number)
        code = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(photos / f"{number:02d}.jpg"), code, [cv2.IMWRITE_JPEG_QUALITY, 94])


def main() -> None:
    """Make them all."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("no Chromium on PATH")
    OUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        photos = work / "photos"
        photos.mkdir()
        plant(photos, ImageLimits.from_settings(load_settings().validation))
        packshot = [sys.executable, "-m", "packshot.cli"]
        environment = os.environ | {"PACKSHOT_HOME": str(work / "home")}
        for command in (
            [
                "score",
                str(photos),
                "--out",
                str(work / "verdicts"),
                "--model",
                sys.argv[1] if sys.argv[1:] else "starter",
            ],
            ["report", "--verdicts", str(work / "verdicts"), "--out", str(work / "page")],
        ):
            subprocess.run([*packshot, *command], env=environment, check=True, stdout=subprocess.DEVNULL)
        with sync_playwright() as playwright:
            opened = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
            page = opened.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
            page.goto((work / "page" / "index.html").as_uri())
            repaired = page.get_by_role("heading", name="Repaired")
            page.evaluate("top => window.scrollTo(0, top)", repaired.bounding_box()["y"] - 64)
            page.screenshot(path=OUT / "page.jpg", type="jpeg", quality=82)
            opened.close()
    print(f"{OUT / 'page.jpg'}: {(OUT / 'page.jpg').stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
