"""How often what is laid over a picture is found, and how often print and clean pictures are taken for it.

    python benchmarks/overlays.py --workspace .packshot/workspaces/catalog [--fonts /usr/share/fonts] [--count 150]

The pictures are of the test split of a workspace, which the network of `laid_over` never saw, and of `furniture`, of
which it saw nothing at all; those on which a person sees text or a frame are left out of the clean ones. What is laid
over is drawn here, by other code than what taught the network, in the fonts found below --fonts: words that it did not
learn, a mark once or all over, captions, discs, strips. Faint means that a quarter to three fifths of the ink covers.
Clean pictures come with print on what they show, too. `laid_over` is asked at the bound of the profile in force.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from rich.console import Console
from rich.table import Table

from clean_products import as_jpeg
from packshot.catalog.manifest import read_manifest
from packshot.config import load_settings
from packshot.home import project_root
from packshot.revision import SPLIT_MANIFEST
from packshot.scoring.rules import RULES, Picture, profile_in_force
from packshot.training import layout
from packshot.training.overlays import Fonts, print_on
from planted_faults import PLANTS, Pixels, Plant, Random
from text_rules import SHOWS_FRAME, SHOWS_TEXT, banner_across

UNSEEN = "furniture"
"""A set that taught the network nothing."""
SAID = (
    "SUMMER SALE", "Buy 2 get 1", "myshop.co.uk", "Shutterpix", "© J. Smith", "-30 %", "Free returns", "LIMITED",
    "Only 19.90", "Vintage Finds", "ABC Furniture", "14 DAYS", "BLACK FRIDAY", "Muster", "Handmade", "Winter 26/27",
)  # fmt: skip
SHORT = ("-50%", "NEW", "2+1", "ECO", "HIT", "A+")


class Drawer:
    """Lays text over pictures in the fonts that there are."""

    def __init__(self, fonts: Sequence[Path]) -> None:
        self._fonts = list(fonts)

    def font(self, size: float, random: Random) -> ImageFont.FreeTypeFont:
        return ImageFont.truetype(str(self._fonts[int(random.integers(len(self._fonts)))]), max(9, round(size)))

    def mark(self, image: Pixels, random: Random) -> Pixels:
        """One faint mark across the middle, level or slanting."""
        height, width = image.shape[:2]
        layer = Image.new("L", (width, height))
        font = self.font(random.uniform(0.06, 0.14) * min(height, width), random)
        ImageDraw.Draw(layer).text((width / 2, height / 2), str(random.choice(SAID)), fill=255, font=font, anchor="mm")
        return faintly(image, layer.rotate(float(random.choice([0, 30, 45, -30])), Image.Resampling.BICUBIC), random)

    def tiles(self, image: Pixels, random: Random) -> Pixels:
        """A faint mark again and again, over all of the picture."""
        height, width = image.shape[:2]
        side = round(1.5 * max(height, width))
        layer, said = Image.new("L", (side, side)), str(random.choice(SAID))
        font, on = self.font(random.uniform(0.035, 0.06) * min(height, width), random), ImageDraw.Draw(layer)
        for down in range(0, side, max(30, round(0.14 * height))):
            for across in range(0, side, max(60, round(0.35 * width))):
                on.text((across, down), said, fill=255, font=font)
        layer = layer.rotate(float(random.choice([0, 30, 45])), Image.Resampling.BICUBIC)
        left, top = (side - width) // 2, (side - height) // 2
        return faintly(image, layer.crop((left, top, left + width, top + height)), random)

    def caption(self, image: Pixels, random: Random) -> Pixels:
        """A line of text in a corner, at an edge or in the middle."""
        height, width = image.shape[:2]
        page = Image.fromarray(image)
        places = [(0.05, 0.06, "lm"), (0.95, 0.94, "rm"), (0.5, 0.92, "mm"), (0.5, 0.08, "mm"), (0.5, 0.5, "mm")]
        across, down, anchor = places[int(random.integers(len(places)))]
        band = image[max(0, round(down * height) - 20) : round(down * height) + 20]
        font = self.font(random.uniform(0.04, 0.1) * min(height, width), random)
        ink = "white" if band.mean() < 140 else "black"
        place = (across * width, down * height)
        ImageDraw.Draw(page).text(place, str(random.choice(SAID)), fill=ink, font=font, anchor=anchor)
        return np.asarray(page, np.uint8)

    def disc(self, image: Pixels, random: Random) -> Pixels:
        """A disc of one colour in a corner, with a word in it."""
        height, width = image.shape[:2]
        page = Image.fromarray(image)
        on, reach = ImageDraw.Draw(page), round(random.uniform(0.09, 0.16) * min(height, width))
        across, down = (int(random.choice([reach + 5, side - reach - 5])) for side in (width, height))
        colour = tuple(int(level) for level in random.integers(0, 230, 3))
        on.ellipse((across - reach, down - reach, across + reach, down + reach), fill=colour)
        font = self.font(reach / 2, random)
        on.text((across, down), str(random.choice(SHORT)), fill="white", font=font, anchor="mm")
        return np.asarray(page, np.uint8)


def faintly(image: Pixels, layer: Image.Image, random: Random) -> Pixels:
    """The layer as white or grey ink that covers a quarter to three fifths."""
    share = np.asarray(layer, np.float32)[..., None] / 255 * random.uniform(0.25, 0.6)
    ink = 255.0 if image.mean() < 170 else 60.0
    return np.asarray(np.rint(share * ink + (1 - share) * image), np.uint8)


def fonts_below(folder: Path) -> list[Path]:
    """Files of fonts that hold letters."""
    files = sorted(each for kind in ("*.ttf", "*.otf") for each in folder.rglob(kind))
    signs = ("symbol", "dingbat", "d050", "standardsymbols", "dejavu")
    return [each for each in files if not any(sign in each.name.lower() for sign in signs)]


def asked(images: Sequence[Pixels], threshold: float) -> np.ndarray:
    """Of which of the pictures it is said that something is laid over them."""
    rule = RULES["laid_over"]
    values = [rule.value(Picture(image), threshold) for image in images]
    return np.array([value is not None and rule.broken(value, threshold) for value in values])


def pictures(workspace: Path) -> dict[str, list[Pixels]]:
    """Those that taught nothing, by set."""
    rows = read_manifest(workspace / SPLIT_MANIFEST)
    rows = rows[(rows["split"] == "test") | (rows["source"] == UNSEEN)]
    found: dict[str, list[Pixels]] = {}
    for row in rows.itertuples():
        file = workspace / layout.IMAGES / row.path
        if file.stem not in SHOWS_TEXT | SHOWS_FRAME:
            found.setdefault(str(row.source), []).append(np.ascontiguousarray(cv2.imread(str(file))[..., ::-1]))
    return found


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    workspace = project_root() / ".packshot/workspaces/catalog"
    parser.add_argument("--workspace", type=Path, default=workspace, help="one whose splits are there")
    parser.add_argument("--fonts", type=Path, default=Path("/usr/share/fonts"), help="folder of font files")
    parser.add_argument("--count", type=int, default=150, help="pictures of each set with each thing (default 150)")
    given = parser.parse_args()
    if not fonts_below(given.fonts):
        parser.error(f"{given.fonts} holds no fonts but DejaVu; on Debian: apt-get install fonts-liberation fonts-lato")
    return given


def main() -> None:
    """Measure and print."""
    given = _options()
    threshold = profile_in_force(load_settings().scoring)["laid_over"].threshold
    files, random = fonts_below(given.fonts), np.random.default_rng(5)
    drawer, fonts = Drawer(files), Fonts(files)
    printed: Callable[[Pixels, Random], Pixels] = lambda image, lot: print_on(image, fonts, lot)  # noqa: E731
    kinds: dict[str, Plant] = {
        "print on it": printed,
        "faint mark": drawer.mark,
        "faint marks all over": drawer.tiles,
        "caption": drawer.caption,
        "disc": drawer.disc,
        "strip": banner_across,
        "slogan beside": PLANTS["overlay"][0],
        "grey marks all over": PLANTS["overlay"][1],
    }
    table = Table("set", "clean", "%", *kinds, title=f"called laid over, % (bound {threshold:g}, {len(files)} fonts)")
    for name, images in pictures(given.workspace).items():
        shown = images[: given.count]
        said = [
            asked([as_jpeg(kind(image, random), int(random.integers(75, 96))) for image in shown], threshold)
            for kind in kinds.values()
        ]
        clean = asked(images, threshold)
        row = [f"{100 * clean.mean():.1f}", *(f"{100 * each.mean():.1f}" for each in said)]
        table.add_row(name, str(len(images)), *row)
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
