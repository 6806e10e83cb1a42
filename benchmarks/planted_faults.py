"""Clean packshots, and one fault at a time planted in them: what the catalogue rules are measured on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from packshot.degrade import apply
from packshot.model.ground import white_ground

Pixels = npt.NDArray[np.uint8]
Random = np.random.Generator
WHITE_BORDER = 0.9
"""Share of the border that is white in a picture a product is cut out of."""
FRAMES = ((1.0, 1.0), (0.75, 1.0), (1.0, 0.8))
"""Width and height of packshots, as shares of the longer."""
NOT_CLEAN = frozenset(
    {
        "016e2eba9ada", "130b4e6264dc", "1d8d4284ed11", "48444665c80d", "4ad5eed5b942", "559c358fa545",
        "56f8e63fee6a", "587dc988a277", "6c1ec38bbbe1", "7c6e33d5805d", "80e623e234c8", "88db95e00a9f",
        "8a7b048c60dc", "a50598d1281f", "a58d60a84d2d", "b0961b343428", "bfcd2e43209f", "c12dd8c1a6b8",
        "c83564d1bfe8", "d1cb4e5f2d9e", "d278b01b20d0", "da4b1f1291b9", "dae639a30c7e", "db4cd216bb37",
        "ee04600011c4", "f05868409018",
    }
)  # fmt: skip
"""Pictures on white that show text, several things, a cover or a photograph: told by eye, some because a rule
that was tried on the tuned half was right."""


@dataclass(frozen=True)
class Cutout:
    """A product and where it is: H x W x 3, and H x W, 0..1."""

    name: str
    pixels: Pixels
    share: npt.NDArray[np.float32]


def cutouts(files: Sequence[Path]) -> list[Cutout]:
    """The products of those pictures that show one on white."""
    found = []
    for file in files:
        with Image.open(file) as opened:
            image = np.asarray(opened.convert("RGB"))
        ground = white_ground(image)
        border = np.concatenate([ground[0], ground[-1], ground[:, 0], ground[:, -1]])
        product = cv2.morphologyEx((~ground).astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
        if border.mean() < WHITE_BORDER or not product.any():
            continue
        x, y, width, height = cv2.boundingRect(product)
        part = (slice(y, y + height), slice(x, x + width))
        found.append(Cutout(file.stem, image[part], product[part].astype(np.float32)))
    return found


def packshot(product: Cutout, random: Random, fill: tuple[float, float] = (0.86, 0.9)) -> Pixels:
    """The product in the middle of a white canvas; never enlarged, so that it stays as sharp as it was."""
    scale = random.uniform(0.75, 1.0)
    pixels, share = _scaled(product, scale)
    across, down = FRAMES[random.integers(len(FRAMES))]
    height, width = share.shape
    long_side = max(width / across, height / down) / random.uniform(*fill)
    canvas = np.full((max(height, round(long_side * down)), max(width, round(long_side * across)), 3), 255, np.uint8)
    return _placed(canvas, pixels, share, (canvas.shape[0] - height) // 2, (canvas.shape[1] - width) // 2)


def _scaled(product: Cutout, scale: float) -> tuple[Pixels, npt.NDArray[np.float32]]:
    size = (max(8, round(product.share.shape[1] * scale)), max(8, round(product.share.shape[0] * scale)))
    pixels, share = (cv2.resize(plane, size, interpolation=cv2.INTER_AREA) for plane in (product.pixels, product.share))
    return np.asarray(pixels, np.uint8), np.asarray(share, np.float32)


def _placed(canvas: Pixels, pixels: Pixels, share: npt.NDArray[np.float32], top: int, left: int) -> Pixels:
    result = canvas.copy()
    place = (slice(top, top + share.shape[0]), slice(left, left + share.shape[1]))
    mixed = share[..., None] * pixels + (1 - share[..., None]) * canvas[place]
    result[place] = np.rint(mixed)
    return result


Plant = Callable[[Pixels, Random], Pixels]
PLANTS: dict[str, list[Plant]] = {}


def _plants(rule: str) -> Callable[[Plant], Plant]:
    def add(plant: Plant) -> Plant:
        PLANTS.setdefault(rule, []).append(plant)
        return plant

    return add


def _degraded(name: str, *levels: int) -> Plant:
    def plant(image: Pixels, random: Random) -> Pixels:
        return apply(image, name, int(random.choice(levels)), int(random.integers(2**31)))

    return plant


PLANTS["blur"] = [
    _degraded("gaussian_blur", 3, 4, 5),
    _degraded("defocus_blur", 3, 4, 5),
    _degraded("upscaling", 4, 5),
]
PLANTS["noise"] = [_degraded("gaussian_noise", 2, 3, 4, 5), _degraded("shot_noise", 2, 3, 4, 5)]
PLANTS["compression"] = [_degraded("jpeg", 3, 4, 5), _degraded("repeated_jpeg", 4, 5)]
PLANTS["dark"] = [_degraded("underexposure", 4, 5)]
PLANTS["colour_cast"] = [_degraded(name, 2, 3, 4, 5) for name in ("warm_cast", "cool_cast", "green_cast")]
PLANTS["greyscale"] = [_degraded("desaturation", 5)]


def _on(image: Pixels, ground: Pixels) -> Pixels:
    """The product of a packshot on another ground."""
    share = cv2.GaussianBlur(white_ground(image).astype(np.float32), (0, 0), 0.7)[..., None]
    return np.asarray(np.rint(share * ground + (1 - share) * image), np.uint8)


@_plants("white_ground")
def plain_colour(image: Pixels, random: Random) -> Pixels:
    """Paper that is not white: off-white, grey or coloured."""
    level = random.uniform(120, 244)
    tint = random.uniform(-25, 0, 3) if random.random() < 0.5 else np.zeros(3)
    return _on(image, np.broadcast_to(np.clip(level + tint, 0, 255), image.shape))


@_plants("white_ground")
def uneven_light(image: Pixels, random: Random) -> Pixels:
    """White paper under light that falls off from one corner."""
    down, across = np.mgrid[0 : image.shape[0], 0 : image.shape[1]]
    fall = (down / image.shape[0] + across / image.shape[1]) / 2
    plane = 256 - random.uniform(50, 120) * (fall if random.random() < 0.5 else 1 - fall)
    return _on(image, np.repeat(np.clip(plane, 0, 255)[..., None], 3, axis=2))


@_plants("white_ground")
def textured(image: Pixels, random: Random) -> Pixels:
    """Cloth or wood."""
    size = (max(2, image.shape[1] // 6), max(2, image.shape[0] // 6))
    waves = cv2.resize(random.normal(0, 25, size[::-1]).astype(np.float32), image.shape[1::-1])
    return _on(image, np.clip(random.uniform(90, 220, 3) + waves[..., None], 0, 255))


@_plants("fill")
def far_away(image: Pixels, random: Random) -> Pixels:
    """A small product in a large frame."""
    share = random.uniform(0.3, 0.75)
    height, width = image.shape[:2]
    size = (max(1, round(width * share)), max(1, round(height * share)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    canvas = np.full_like(image, 255)
    top, left = random.integers(0, height - size[1] + 1), random.integers(0, width - size[0] + 1)
    canvas[top : top + small.shape[0], left : left + small.shape[1]] = small
    return canvas


@_plants("overfill")
def too_near(image: Pixels, random: Random) -> Pixels:
    """Cropped to the product, but for a pixel."""
    x, y, width, height = cv2.boundingRect((~white_ground(image)).astype(np.uint8))
    return np.ascontiguousarray(image[max(0, y - 1) : y + height + 1, max(0, x - 1) : x + width + 1])


@_plants("border")
def frame(image: Pixels, random: Random) -> Pixels:
    """A frame of one colour around the picture, or a line drawn inside it."""
    result = image.copy()
    thick = int(random.integers(2, max(3, min(image.shape[:2]) // 20)))
    inset = int(random.integers(0, 6)) if random.random() < 0.5 else 0
    colour = random.integers(0, 200, 3)
    for side in (result, result[::-1], result.transpose(1, 0, 2), result.transpose(1, 0, 2)[::-1]):
        side[inset : inset + thick, inset : side.shape[1] - inset] = colour
    return result


@_plants("border")
def bars(image: Pixels, random: Random) -> Pixels:
    """Bars above and below, or left and right."""
    thick = max(4, round(random.uniform(0.04, 0.15) * max(image.shape[:2])))
    sides = ((thick, thick), (0, 0)) if random.random() < 0.5 else ((0, 0), (thick, thick))
    level = int(random.choice([0, 20, 128, 200]))
    return np.pad(image, (*sides, (0, 0)), constant_values=level)


def _drawn(image: Pixels, draw: Callable[[ImageDraw.ImageDraw], None], angle: float, opacity: float) -> Pixels:
    layer = Image.new("RGBA", (image.shape[1], image.shape[0]), (0, 0, 0, 0))
    draw(ImageDraw.Draw(layer))
    mark = np.asarray(layer.rotate(angle, resample=Image.Resampling.BICUBIC)).astype(np.float32)
    share = mark[..., 3:] / 255 * opacity
    return np.asarray(np.rint(share * mark[..., :3] + (1 - share) * image), np.uint8)


WORDS = ("SALE -50%", "NEW ARRIVAL", "Free shipping", "www.shop.com", "Bestseller 2024", "Made in EU")


@_plants("overlay")
def slogan(image: Pixels, random: Random) -> Pixels:
    """A line of text above or below the product, where sellers make room for it."""
    room = round(random.uniform(0.1, 0.16) * image.shape[0])
    above = bool(random.random() < 0.5)
    page = np.pad(image, ((room, 0) if above else (0, room), (0, 0), (0, 0)), constant_values=255)
    font = ImageFont.load_default(0.65 * room)
    colour = (*random.integers(0, 200, 3).tolist(), 255)
    place = (round(0.03 * page.shape[1]), 2 if above else image.shape[0])
    return _drawn(page, lambda on: on.text(place, str(random.choice(WORDS)), fill=colour, font=font), 0, 1)


@_plants("overlay")
def watermark(image: Pixels, random: Random) -> Pixels:
    """Faint slanted text all over the picture."""
    height, width = image.shape[:2]
    font = ImageFont.load_default(random.uniform(0.06, 0.09) * min(height, width))
    word, grey = str(random.choice(WORDS)), int(random.integers(60, 150))

    def draw(on: ImageDraw.ImageDraw) -> None:
        for down in np.arange(0, height, height / 6):
            for across in np.arange(-0.2 * width, width, 0.5 * width):
                on.text((across, down), word, fill=(grey, grey, grey, 255), font=font)

    return _drawn(image, draw, random.uniform(20, 40), random.uniform(0.3, 0.6))


@_plants("light")
def washed_out(image: Pixels, random: Random) -> Pixels:
    """Much too long an exposure, with glare."""
    return np.asarray(np.rint(255 - (255 - image.astype(np.float32)) * random.uniform(0.15, 0.35)), np.uint8)


@_plants("clipped")
def burnt_out(image: Pixels, random: Random) -> Pixels:
    """The product's lighter half is white without detail."""
    product = ~white_ground(image)
    gain = 255 / max(float(np.quantile(image[product].min(axis=1), random.uniform(0.3, 0.6))), 1.0)
    return np.asarray(np.clip(np.rint(image * gain), 0, 255), np.uint8)


@_plants("clipped")
def lost_in_black(image: Pixels, random: Random) -> Pixels:
    """The product's darker half is black without detail."""
    product = ~white_ground(image)
    low = float(np.quantile(image[product].max(axis=1), random.uniform(0.3, 0.6)))
    return np.asarray(np.clip((image - low) * 255 / max(255 - low, 1), 0, 255).round(), np.uint8)


@_plants("low_information")
def empty(image: Pixels, random: Random) -> Pixels:
    """A page without a product: plain, graded, or grainy."""
    plane = np.full(image.shape, random.uniform(0, 255), np.float32)
    plane += random.uniform(-60, 60) * np.linspace(0, 1, image.shape[0])[:, None, None]
    plane += random.normal(0, random.uniform(0, 12), (*image.shape[:2], 1))
    return np.clip(plane, 0, 255).astype(np.uint8)


@_plants("products")
def two_of_them(image: Pixels, random: Random) -> Pixels:
    """The product twice, or once more at another size."""
    height, width = image.shape[:2]
    share = random.uniform(0.7, 1.0)
    other = cv2.resize(image, (round(width * share), round(height * share)), interpolation=cv2.INTER_AREA)
    canvas = np.full((height, width + other.shape[1], 3), 255, np.uint8)
    canvas[:, :width] = image
    canvas[height - other.shape[0] :, width:] = other[:, ::-1]
    return canvas


@_plants("longest_side")
@_plants("shortest_side")
def thumbnail(image: Pixels, random: Random) -> Pixels:
    """A picture of 40 to 90 pixels."""
    scale = random.uniform(40, 90) / max(image.shape[:2])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


@_plants("aspect")
def strip(image: Pixels, random: Random) -> Pixels:
    """A page much longer than wide, or wider than long."""
    more = round(max(image.shape[:2]) * random.uniform(2.6, 5))
    sides = ((0, more), (0, 0)) if random.random() < 0.5 else ((0, 0), (0, more))
    return np.pad(image, (*sides, (0, 0)), constant_values=255)
