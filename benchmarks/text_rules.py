"""Whether small parts, prints, screens and boxes are taken for text or frames, and whether real ones are still found.

    python benchmarks/text_rules.py [--images IMAGES] [--half tuned] [--count 240]

Clean pictures: drawn ones, and ones composed of products and photographs of the collections, of many small parts, sets,
framed prints, posters, screens and boxes (`clean_products.py`).
Faults: text, watermarks and banners on packshots, frames and bars around packshots and around photographs. Each is
asked of the first look alone, which is the rule as it was before there was a second one (any even band is a border),
and of the rules as they are. Then the share of whole collections that is flagged, and the time. Every second product
and photograph, and other draws, served to choose what the rules go by; `--half tuned` shows those.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from rich.console import Console
from rich.table import Table

from clean_products import Material, Pixels, Random, as_jpeg, clean_products
from packshot.config import RuleBound, load_settings
from packshot.home import project_root
from packshot.scoring.rules import RULES, Picture, measure
from packshot.scoring.rules.border import sides_of
from packshot.scoring.rules.overlay import text_spotter
from planted_faults import NOT_CLEAN, PLANTS, WORDS, Cutout, Plant, cutouts, packshot

PROFILE = "google-merchant"
SHOWS_TEXT = frozenset(
    {
        "016e2eba9ada", "05d2d61e1314", "130b4e6264dc", "1704848f806d", "48444665c80d", "517cef36cdf0", "534edfdaf66d",
        "5dfa2f22d701", "6d7560c0e537", "7cee10f78af1", "831c4ddeb411", "88db95e00a9f", "99fafdad1ebb", "acfc6ae92d94",
        "c9dfadce896b", "d278b01b20d0", "d4c473957978", "db9a9b788409", "ebb716dd0889", "f00c29d85c67", "f43560eae5e0",
        "fa08ab8fea44", "fe060afd8c5d",
    }
)  # fmt: skip
SHOWS_FRAME = frozenset(
    {
        "0652350d247b", "08d2a698543d", "1704848f806d", "32797142e3d6", "44b9a4e14968", "517cef36cdf0", "534edfdaf66d",
        "5703d9516d6e", "5dfa2f22d701", "743aeddbb74c", "7cee10f78af1", "831c4ddeb411", "8a416be3c030", "8f878e923f98",
        "912a95d6856b", "94c27cf18b37", "99fafdad1ebb", "9d3dbde913e3", "a65db52d4d28", "acfc6ae92d94", "bb5593b210fd",
        "d4c473957978", "ef986bb5c5a2", "f00c29d85c67", "fa08ab8fea44",
    }
)  # fmt: skip
"""Of the pictures of `furniture` that any of the rules flags, those on which a person sees text laid over, or a frame
or bars; of `clothing` and `grocery` there are none."""


@dataclass(frozen=True)
class Answer:
    """What is said of one picture: text and frame by the first look; text, frame, perhaps a frame by the rules."""

    text_before: bool
    frame_before: bool
    text: bool
    frame: bool
    perhaps: bool

    @property
    def framed(self) -> bool:
        return self.frame or self.perhaps


@cache
def profile() -> dict[str, RuleBound]:
    """The bounds that are asked."""
    return load_settings().scoring.profiles[PROFILE]


def asked(image: Pixels) -> Answer:
    """What is said of a picture."""
    bounds = {name: bound.threshold for name, bound in profile().items()}
    picture = Picture(image)

    def broken(name: str, value: float | None) -> bool:
        return value is not None and RULES[name].broken(value, bounds[name])

    return Answer(
        text_before=broken("overlay", RULES["overlay"].measure(picture)),
        frame_before=broken("border", float(sum(side.band is not None for side in sides_of(picture)))),
        text=broken("overlay", RULES["overlay"].value(picture, bounds["overlay"]))
        or broken("banner", RULES["banner"].value(picture, bounds["banner"])),
        frame=broken("border", RULES["border"].value(picture, bounds["border"])),
        perhaps=broken("framed", RULES["framed"].value(picture, bounds["framed"])),
    )


def share(answers: Sequence[Answer], said: Callable[[Answer], bool]) -> str:
    """Percent of the pictures of which it is said."""
    return f"{100 * np.mean([said(answer) for answer in answers]):.1f}"


FAULTS: dict[str, Plant] = {"text: slogan": PLANTS["overlay"][0], "text: watermark": PLANTS["overlay"][1]}


def _fault(name: str) -> Callable[[Plant], Plant]:
    def add(plant: Plant) -> Plant:
        FAULTS[name] = plant
        return plant

    return add


def _written(page: Image.Image, place: tuple[float, float], height: float, random: Random, ink: str) -> None:
    font = ImageFont.load_default(max(8.0, height))
    ImageDraw.Draw(page).text(place, str(random.choice(WORDS)), fill=ink, font=font, anchor="mm")


@_fault("text: caption")
def caption(image: Pixels, random: Random) -> Pixels:
    """A small line of text below the product."""
    height, width = image.shape[:2]
    room = round(0.08 * height)
    page = Image.fromarray(np.pad(image, ((0, room), (0, 0), (0, 0)), constant_values=255))
    _written(page, (width / 2, height + room / 2), random.uniform(0.04, 0.06) * height, random, "#333333")
    return np.asarray(page, np.uint8)


@_fault("text: address in a corner")
def corner(image: Pixels, random: Random) -> Pixels:
    """A shop's address, small, below the product at the left."""
    height, width = image.shape[:2]
    room = round(0.06 * height)
    page = Image.fromarray(np.pad(image, ((0, room), (0, 0), (0, 0)), constant_values=255))
    _written(page, (0.25 * width, height + room / 2), 0.045 * height, random, "#777777")
    return np.asarray(page, np.uint8)


@_fault("banner: coloured strip")
def banner(image: Pixels, random: Random) -> Pixels:
    """A promotional strip below the product."""
    height, width = image.shape[:2]
    room = round(0.14 * height)
    page = Image.fromarray(np.pad(image, ((0, room), (0, 0), (0, 0)), constant_values=255))
    colour = tuple(int(level) for level in random.integers(0, 200, 3))
    strip = (0.05 * width, height + 0.1 * room, 0.95 * width, height + 0.95 * room)
    ImageDraw.Draw(page).rectangle(strip, fill=colour)
    _written(page, (width / 2, height + 0.52 * room), 0.5 * room, random, "white")
    return np.asarray(page, np.uint8)


def banner_across(image: Pixels, random: Random) -> Pixels:
    """A promotional strip over a photograph, from edge to edge: at the top, at the bottom or between."""
    height, width = image.shape[:2]
    thick = round(random.uniform(0.07, 0.2) * height)
    top = int(random.choice([0, height - thick, round(random.uniform(0.1, 0.8) * (height - thick))]))
    page = Image.fromarray(image)
    colour = tuple(int(level) for level in random.integers(0, 200, 3))
    ImageDraw.Draw(page).rectangle((0, top, width, top + thick), fill=colour)
    _written(page, (width / 2, top + thick / 2), random.uniform(0.4, 0.65) * thick, random, "white")
    return np.asarray(page, np.uint8)


def thin_line(image: Pixels, random: Random) -> Pixels:
    """A line drawn along the edge of the picture."""
    result = image.copy()
    wide = max(1, round(0.004 * min(image.shape[:2])))
    colour = random.integers(0, 200, 3)
    for side in (result, result[::-1], result.transpose(1, 0, 2), result.transpose(1, 0, 2)[::-1]):
        side[:wide] = colour
    return result


def recall(kinds: dict[str, Plant], clean: Sequence[Pixels], random: Random) -> dict[str, list[Answer]]:
    """What is said of the pictures with each fault."""
    return {
        name: [asked(as_jpeg(plant(image, random), int(random.integers(80, 96)))) for image in clean]
        for name, plant in kinds.items()
    }


def loaded(files: Iterable[Path]) -> list[tuple[str, Pixels]]:
    """Names and pixels of pictures."""
    return [(file.stem, np.ascontiguousarray(cv2.imread(str(file))[..., ::-1])) for file in files]


def milliseconds(images: Sequence[Pixels], second_look: bool) -> float:
    """One core's time for all rules of the profile, for a picture."""
    text_spotter()
    start = time.process_time()
    for image in images:
        if second_look:
            measure(Picture(image), profile())
        else:
            picture = Picture(image)
            for name in profile():
                RULES[name].measure(picture)
    return 1000 * (time.process_time() - start) / len(images)


def clean_table(pictures: Sequence[tuple[str, Pixels]], half: str) -> Table:
    """False alarms on clean pictures, by kind."""
    columns = ("kind", "pictures", "text before %", "text %", "frame before %", "frame %", "perhaps a frame %")
    table = Table(*columns, title=f"false alarms on clean pictures ({half})")
    answers = [(kind, asked(image)) for kind, image in pictures]
    for kind in [*dict.fromkeys(kind for kind, _ in answers), "all"]:
        of_kind = [answer for name, answer in answers if kind in (name, "all")]
        said = (
            lambda answer: answer.text_before,
            lambda answer: answer.text,
            lambda answer: answer.frame_before,
            lambda answer: answer.frame,
            lambda answer: answer.perhaps,
        )
        table.add_row(kind, str(len(of_kind)), *(share(of_kind, one) for one in said))
    return table


def fault_table(found: dict[str, list[Answer]], half: str) -> Table:
    """Recall of planted faults."""
    columns = ("fault", "pictures", "recall before %", "recall %", "of it perhaps a frame %")
    table = Table(*columns, title=f"planted faults ({half})")
    for name, answers in found.items():
        frame = name.startswith("frame")
        before = share(answers, lambda answer: answer.frame_before if frame else answer.text_before)  # noqa: B023
        now = share(answers, lambda answer: answer.framed if frame else answer.text)  # noqa: B023
        table.add_row(name, str(len(answers)), before, now, share(answers, lambda one: one.perhaps) if frame else "")
    return table


def collections_table(images: Path, half: slice) -> Table:
    """What whole collections are told, apart from pictures on which a person sees it too, and the time it takes."""
    columns = ("collection", "pictures", "text before", "text", "frame before", "frame", "perhaps", "ms before", "ms")
    table = Table(*columns, title="false alarms on whole collections, pictures; time of all rules on one core")
    for name in ("grocery", "furniture", "clothing"):
        pictures = loaded(sorted((images / name / "images").iterdir())[half])
        answers = [(stem, asked(image)) for stem, image in pictures]
        text_free = [answer for stem, answer in answers if stem not in SHOWS_TEXT]
        frameless = [answer for stem, answer in answers if stem not in SHOWS_FRAME]
        table.add_row(
            *(name, str(len(pictures))),
            *(str(sum(one.text_before for one in text_free)), str(sum(one.text for one in text_free))),
            *(str(sum(one.frame_before for one in frameless)), str(sum(one.frame for one in frameless))),
            str(sum(one.perhaps for one in frameless)),
            *(f"{milliseconds([image for _, image in pictures], looked):.1f}" for looked in (False, True)),
        )
    return table


def material(images: Path, half: slice) -> Material:
    """Products cut out of pictures on white, and photographs."""
    files = [file for name in ("grocery", "furniture") for file in sorted((images / name / "images").iterdir())]
    products: list[Cutout] = [product for product in cutouts(files) if product.name not in NOT_CLEAN]
    photographs = [image for _, image in loaded(sorted((images / "clothing" / "images").iterdir())[half][:150])]
    return Material(products[half], photographs)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    mirror = (project_root() / load_settings().source.mirror).resolve()
    parser.add_argument("--images", type=Path, default=mirror, help=f"the mirror (default {mirror})")
    parser.add_argument("--half", choices=("held-out", "tuned"), default="held-out", help="which pictures")
    parser.add_argument("--count", type=int, default=240, help="clean pictures that are composed (default 240)")
    parser.add_argument("--products", type=int, default=56, help="packshots that get each fault (default 56)")
    given = parser.parse_args()
    if not (given.images / "grocery").is_dir():
        parser.error(f"{given.images} holds no grocery/; name the mirror with --images")
    return given


def main() -> None:
    """Measure and print."""
    given = _options()
    cv2.setNumThreads(1)
    console = Console(width=150)
    if text_spotter() is None:
        console.print("the second look is missing: what follows is the first look twice")
    half = slice(1, None, 2) if given.half == "held-out" else slice(0, None, 2)
    random = np.random.default_rng(half.start)
    made_of = material(given.images, half)
    console.print(clean_table(clean_products(made_of, given.count, random), given.half))
    packshots = [packshot(product, random) for product in made_of.products[: given.products]]
    around = {"frame: frame": PLANTS["border"][0], "frame: bars": PLANTS["border"][1]}
    found = recall(FAULTS | around, packshots, random)
    photographs = made_of.photographs[: given.products]
    beside = {f"{name} around a photograph": plant for name, plant in around.items()}
    found |= recall(
        beside | {"frame: thin line around a photograph": thin_line, "banner: across a photograph": banner_across},
        photographs,
        random,
    )
    console.print(fault_table(found, given.half))
    console.print(collections_table(given.images, half))


if __name__ == "__main__":
    main()
