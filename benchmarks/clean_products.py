"""Clean pictures of products that look like text or frames: many small parts, prints, screens, boxes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from planted_faults import Cutout

Pixels = npt.NDArray[np.uint8]
Random = np.random.Generator
Colour = tuple[int, int, int]
SIDE = 900
"""Longer side of a drawn picture, in pixels."""
TWICE = 2
"""What is drawn is drawn so many times as large and scaled down, for edges as a camera makes them."""
PRINTED = ("OATS", "Muesli 500 g", "GREEN TEA", "No. 5", "Vitamin C", "Dark Roast", "100% Cotton", "Soap", "12 pcs")


@dataclass(frozen=True)
class Material:
    """What pictures are made of: products cut out of pictures on white, and photographs."""

    products: Sequence[Cutout]
    photographs: Sequence[Pixels]

    def photograph(self, random: Random) -> Pixels:
        return self.photographs[int(random.integers(len(self.photographs)))]

    def product(self, random: Random) -> Cutout:
        return self.products[int(random.integers(len(self.products)))]


Kind = Callable[[Material, Random], Pixels]
KINDS: dict[str, list[Kind]] = {}


def kind(name: str) -> Callable[[Kind], Kind]:
    """Register the decorated maker of clean pictures under a kind."""

    def add(make: Kind) -> Kind:
        KINDS.setdefault(name, []).append(make)
        return make

    return add


def _colour(random: Random, low: int = 20, high: int = 210) -> Colour:
    red, green, blue = (int(level) for level in random.integers(low, high, 3))
    return red, green, blue


def _shaded(colour: Colour, by: float) -> Colour:
    red, green, blue = (int(min(255, level * by)) for level in colour)
    return red, green, blue


def _ground(random: Random) -> Colour:
    """White mostly; else off-white, grey or a colour."""
    which = random.random()
    if which < 0.6:
        return 255, 255, 255
    if which < 0.85:
        level = int(random.integers(190, 250))
        return level, level, level
    return _colour(random, 60, 230)


def _size(random: Random) -> tuple[int, int]:
    """Width and height."""
    short = round(SIDE * random.uniform(0.7, 1))
    return (SIDE, short) if random.random() < 0.5 else (short, SIDE)


def _part_mould(random: Random) -> Callable[[ImageDraw.ImageDraw, float, Colour], None]:
    """A small part, drawn about the middle of a square of that side."""
    moulds = (_button, _ring, _screw, _nut, _bead, _peg, _pill, _star, _fork, _block, _key)
    return moulds[int(random.integers(len(moulds)))]


def _button(on: ImageDraw.ImageDraw, side: float, colour: Colour) -> None:
    on.ellipse((0, 0, side, side), fill=colour)
    for x in (0.36, 0.64):
        for y in (0.36, 0.64):
            on.ellipse(((x - 0.06) * side, (y - 0.06) * side, (x + 0.06) * side, (y + 0.06) * side), fill="#eee")


def _ring(on: ImageDraw.ImageDraw, side: float, colour: Colour) -> None:
    on.ellipse((0, 0, side, side), outline=colour, width=max(2, round(side * 0.16)))


def _screw(on: ImageDraw.ImageDraw, side: float, colour: Colour) -> None:
    on.rectangle((0.3 * side, 0, 0.7 * side, 0.15 * side), fill=colour)
    on.polygon([(0.42 * side, 0.15 * side), (0.58 * side, 0.15 * side), (0.5 * side, side)], fill=colour)
    for turn in np.arange(0.25, 0.85, 0.1):
        on.line((0.38 * side, turn * side, 0.62 * side, (turn + 0.05) * side), fill=_shaded(colour, 0.6), width=2)


def _nut(on: ImageDraw.ImageDraw, side: float, colour: Colour) -> None:
    on.regular_polygon((side / 2, side / 2, side / 2), 6, fill=colour)
    on.ellipse((0.3 * side, 0.3 * side, 0.7 * side, 0.7 * side), fill=_shaded(colour, 0.4))


def _bead(on: ImageDraw.ImageDraw, side: float, colour: Colour) -> None:
    on.ellipse((0.1 * side, 0.1 * side, 0.9 * side, 0.9 * side), fill=colour)
    on.ellipse((0.3 * side, 0.22 * side, 0.48 * side, 0.4 * side), fill=_shaded(colour, 1.6))


def _peg(on: ImageDraw.ImageDraw, side: float, colour: Colour) -> None:
    on.rounded_rectangle((0.38 * side, 0, 0.5 * side, side), 0.05 * side, fill=colour)
    on.rounded_rectangle((0.52 * side, 0, 0.64 * side, side), 0.05 * side, fill=_shaded(colour, 0.85))
    on.rectangle((0.36 * side, 0.4 * side, 0.66 * side, 0.48 * side), fill="#888")


def _pill(on: ImageDraw.ImageDraw, side: float, colour: Colour) -> None:
    on.rounded_rectangle((0, 0.3 * side, side, 0.7 * side), 0.2 * side, fill=colour)
    on.rounded_rectangle((0, 0.3 * side, 0.5 * side, 0.7 * side), 0.2 * side, fill=_shaded(colour, 1.3))


def _star(on: ImageDraw.ImageDraw, side: float, colour: Colour) -> None:
    turns = np.arange(10) * math.pi / 5
    reach = np.where(np.arange(10) % 2, 0.2, 0.5) * side
    on.polygon(
        [(side / 2 + r * math.sin(t), side / 2 - r * math.cos(t)) for t, r in zip(turns, reach, strict=True)], colour
    )


def _fork(on: ImageDraw.ImageDraw, side: float, colour: Colour) -> None:
    for x in (0.36, 0.46, 0.56):
        on.rectangle((x * side, 0, (x + 0.05) * side, 0.3 * side), fill=colour)
    on.rectangle((0.36 * side, 0.28 * side, 0.61 * side, 0.4 * side), fill=colour)
    on.rectangle((0.45 * side, 0.4 * side, 0.52 * side, side), fill=colour)


def _block(on: ImageDraw.ImageDraw, side: float, colour: Colour) -> None:
    on.rectangle((0, 0.25 * side, side, 0.85 * side), fill=colour)
    for x in (0.15, 0.6):
        on.rectangle((x * side, 0.12 * side, (x + 0.25) * side, 0.25 * side), fill=_shaded(colour, 0.9))


def _key(on: ImageDraw.ImageDraw, side: float, colour: Colour) -> None:
    on.ellipse((0.3 * side, 0, 0.7 * side, 0.4 * side), outline=colour, width=max(2, round(0.08 * side)))
    on.rectangle((0.46 * side, 0.38 * side, 0.54 * side, side), fill=colour)
    on.rectangle((0.54 * side, 0.8 * side, 0.68 * side, 0.88 * side), fill=colour)


def _places(size: tuple[int, int], count: int, random: Random) -> tuple[list[tuple[float, float]], float]:
    """Middles of so many parts, apart from each other, and the side of the square that each has."""
    width, height = size
    across = max(1, round(math.sqrt(count * width / height)))
    down = math.ceil(count / across)
    cell = 0.9 * min(width / across, height / down)
    left, top = (width - cell * across) / 2, (height - cell * down) / 2
    grid = [(left + (place % across + 0.5) * cell, top + (place // across + 0.5) * cell) for place in range(count)]
    part = cell * random.uniform(0.45, 0.8)
    if random.random() < 0.4:  # as they were put down, and not in rows
        loose = (cell - part) / 2
        grid = [(x + random.uniform(-loose, loose), y + random.uniform(-loose, loose)) for x, y in grid]
    if random.random() < 0.15 and count >= 6:  # in a ring
        reach = 0.42 * min(width, height)
        turns = [2 * math.pi * place / count for place in range(count)]
        grid = [(width / 2 + reach * math.sin(turn), height / 2 - reach * math.cos(turn)) for turn in turns]
        part = min(part, 1.5 * reach * math.pi / count)
    return grid, part


def _laid(canvas: Image.Image, part: Image.Image, middle: tuple[float, float]) -> None:
    place = (round(middle[0] - part.width / 2), round(middle[1] - part.height / 2))
    canvas.paste(part, place, part)


def _finished(canvas: Image.Image, size: tuple[int, int]) -> Pixels:
    return np.asarray(canvas.convert("RGB").resize(size, Image.Resampling.LANCZOS), np.uint8)


@kind("small parts")
def small_parts(material: Material, random: Random) -> Pixels:
    """Buttons, screws, rings, beads, keys: of one sort, in rows, in a ring or as they fell; alike or not."""
    size = _size(random)
    canvas = Image.new("RGB", (size[0] * TWICE, size[1] * TWICE), _ground(random))
    middles, side = _places(canvas.size, int(random.integers(5, 61)), random)
    mould, colour, turned = _part_mould(random), _colour(random), random.random() < 0.4
    many_colours, many_sizes = random.random() < 0.3, random.random() < 0.3
    for middle in middles:
        part = Image.new("RGBA", (round(side) + 1, round(side) + 1), (0, 0, 0, 0))
        mould(ImageDraw.Draw(part), side, _colour(random) if many_colours else colour)
        if many_sizes:
            part = part.resize((max(8, round(part.width * random.uniform(0.5, 1))),) * 2)
        if turned:
            part = part.rotate(random.uniform(0, 360), resample=Image.Resampling.BICUBIC, expand=True)
        _laid(canvas, part, middle)
    return _finished(canvas, size)


@kind("small parts")
def fittings(material: Material, random: Random) -> Pixels:
    """A product with its screws, plugs and spare buttons beside it."""
    size = _size(random)
    canvas = Image.new("RGB", size, (255, 255, 255))
    product = _cut(material.product(random), (size[0], round(size[1] * 0.7)))
    _laid(canvas, product, (size[0] / 2, size[1] * 0.38))
    count = int(random.integers(3, 13))
    side = min(size[1] * 0.12, 0.8 * size[0] / count)
    mould, colour = _part_mould(random), _colour(random)
    for place in range(count):
        part = Image.new("RGBA", (round(side) * TWICE + 1,) * 2, (0, 0, 0, 0))
        mould(ImageDraw.Draw(part), side * TWICE, colour)
        _laid(canvas, part.resize((round(side),) * 2), (size[0] * (place + 0.5) / count, size[1] * 0.88))
    return np.asarray(canvas, np.uint8)


def _cut(product: Cutout, within: tuple[int, int]) -> Image.Image:
    """A product, see-through around it, as large as fits."""
    alpha = np.asarray(np.rint(product.share * 255), np.uint8)
    image = Image.fromarray(np.dstack([product.pixels, alpha]), "RGBA")
    scale = min(within[0] / image.width, within[1] / image.height)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS)


@kind("sets of products")
def multipack(material: Material, random: Random) -> Pixels:
    """Several of a product, or an assortment: photographed ones, with their own print."""
    size = _size(random)
    canvas = Image.new("RGB", size, (255, 255, 255))
    middles, side = _places(size, int(random.integers(4, 31)), random)
    one, alike = material.product(random), random.random() < 0.5
    for middle in middles:
        _laid(canvas, _cut(one if alike else material.product(random), (round(side), round(side))), middle)
    return np.asarray(canvas, np.uint8)


@kind("sets of products")
def labelled_parts(material: Material, random: Random) -> Pixels:
    """Jars, spools and bottles, each with a label of its own."""
    size = _size(random)
    canvas = Image.new("RGB", (size[0] * TWICE, size[1] * TWICE), _ground(random))
    middles, side = _places(canvas.size, int(random.integers(4, 31)), random)
    colour, words = _colour(random), random.permutation(PRINTED)
    for place, middle in enumerate(middles):
        part = Image.new("RGBA", (round(side * 0.7), round(side)), (0, 0, 0, 0))
        on = ImageDraw.Draw(part)
        on.rounded_rectangle((0, 0.12 * side, part.width - 1, side - 2), 0.08 * side, fill=colour)
        on.rectangle((0.12 * side, 0, part.width - 0.12 * side, 0.14 * side), fill=_shaded(colour, 0.5))
        on.rectangle((0, 0.4 * side, part.width - 1, 0.8 * side), fill="#f4f0e4")
        word = str(words[place % len(words)])
        font = ImageFont.load_default(max(8.0, 1.2 * part.width / len(word)))
        on.text((part.width / 2, 0.6 * side), word, fill="#222", font=font, anchor="mm")
        _laid(canvas, part, middle)
    return _finished(canvas, size)


def _fitted(photograph: Pixels, size: tuple[int, int]) -> Image.Image:
    """The middle of a photograph, of that size."""
    image = Image.fromarray(photograph)
    scale = max(size[0] / image.width, size[1] / image.height)
    image = image.resize((math.ceil(image.width * scale), math.ceil(image.height * scale)), Image.Resampling.LANCZOS)
    left, top = (image.width - size[0]) // 2, (image.height - size[1]) // 2
    return image.crop((left, top, left + size[0], top + size[1]))


def _hung(thing: Image.Image, random: Random) -> Pixels:
    """A rectangular thing that fills the picture, or stands on a ground with some room around it."""
    if random.random() < 0.3:
        return np.asarray(thing, np.uint8)
    ground = _ground(random)
    around = random.uniform(0.02, 0.2)
    beside, above = round(thing.width * around), round(thing.height * random.uniform(0.02, 0.2))
    if random.random() < 0.5:
        above = beside
    canvas = Image.new("RGB", (thing.width + 2 * beside, thing.height + 2 * above), ground)
    canvas.paste(thing, (beside, above))
    return np.asarray(canvas, np.uint8)


@kind("prints and posters")
def framed_print(material: Material, random: Random) -> Pixels:
    """A photograph or a page in a wooden, black or metal frame, with a mount or without."""
    width, height = _size(random)
    thick = round(random.uniform(0.015, 0.08) * min(width, height))
    mount = round(random.uniform(0.04, 0.12) * min(width, height)) if random.random() < 0.4 else 0
    wood = _colour(random, 10, 200)
    thing = Image.new("RGB", (width, height), wood)
    if random.random() < 0.4:  # mouldings catch light
        ImageDraw.Draw(thing).rectangle(
            (thick // 3, thick // 3, width - thick // 3, height - thick // 3), fill=_shaded(wood, 1.3)
        )
    inner = (width - 2 * thick, height - 2 * thick)
    thing.paste((250, 248, 242) if mount else wood, (thick, thick, thick + inner[0], thick + inner[1]))
    picture = _fitted(material.photograph(random), (inner[0] - 2 * mount, inner[1] - 2 * mount))
    thing.paste(picture, (thick + mount, thick + mount))
    return _hung(thing, random)


@kind("prints and posters")
def poster(material: Material, random: Random) -> Pixels:
    """A sheet without a frame: a photograph with its title printed on it."""
    size = _size(random)
    thing = _fitted(material.photograph(random), size)
    on = ImageDraw.Draw(thing)
    word = str(random.choice(PRINTED))
    font = ImageFont.load_default(size[0] * random.uniform(0.06, 0.12))
    on.text((size[0] / 2, size[1] * 0.1), word, fill=_colour(random, 0, 255), font=font, anchor="mm")
    return _hung(thing, random)


@kind("screens")
def screen(material: Material, random: Random) -> Pixels:
    """A television, a monitor or a tablet that shows a photograph, with its dark edge, on a foot or without."""
    width, height = SIDE, round(SIDE * random.uniform(0.56, 0.75))
    if random.random() < 0.25:
        width, height = height, width
    edge = round(random.uniform(0.012, 0.05) * height)
    thing = Image.new("RGB", (width, height), (int(random.integers(5, 45)),) * 3)
    thing.paste(_fitted(material.photograph(random), (width - 2 * edge, height - 2 * edge)), (edge, edge))
    if random.random() < 0.4:
        foot = Image.new("RGB", (width, round(height * 1.15)), (255, 255, 255))
        foot.paste(thing, (0, 0))
        on = ImageDraw.Draw(foot)
        on.rectangle((width * 0.46, height, width * 0.54, height * 1.1), fill="#222")
        on.rectangle((width * 0.3, height * 1.09, width * 0.7, height * 1.12), fill="#222")
        canvas = Image.new("RGB", (round(width * 1.12), round(height * 1.27)), (255, 255, 255))
        canvas.paste(foot, (round(width * 0.06), round(height * 0.06)))
        return np.asarray(canvas, np.uint8)
    return _hung(thing, random)


@kind("boxes")
def box(material: Material, random: Random) -> Pixels:
    """A printed carton from the front or with a side: title, small print, a picture of what is in it."""
    size = _size(random)
    canvas = Image.new("RGB", (size[0] * TWICE, size[1] * TWICE), _ground(random))
    on = ImageDraw.Draw(canvas)
    width, height = canvas.size
    left, top = width * random.uniform(0.05, 0.25), height * random.uniform(0.05, 0.2)
    right, bottom = width - left, height - top
    colour = _colour(random, 30, 225)
    if random.random() < 0.5:
        depth = 0.2 * (right - left)
        right -= depth
        side = [
            (right, top),
            (right + depth, top - 0.03 * height),
            (right + depth, bottom - 0.05 * height),
            (right, bottom),
        ]
        on.polygon(side, fill=_shaded(colour, 0.7))
    on.rectangle((left, top, right, bottom), fill=colour)
    inset = 0.12 * (right - left)
    photograph = _fitted(material.photograph(random), (round(right - left - 2 * inset), round(0.4 * (bottom - top))))
    canvas.paste(photograph, (round(left + inset), round(bottom - 0.5 * (bottom - top))))
    ink = (250, 250, 240) if sum(colour) < 380 else (30, 30, 30)
    word = str(random.choice(PRINTED))
    font = ImageFont.load_default(min(0.12 * (bottom - top), 1.5 * (right - left) / len(word)))
    on.text(((left + right) / 2, top + 0.18 * (bottom - top)), word, fill=ink, font=font, anchor="mm")
    small = ImageFont.load_default(0.028 * (bottom - top))
    for line in range(3):
        text = " ".join(str(word) for word in random.choice(PRINTED, 3))
        on.text(
            ((left + right) / 2, top + (0.3 + 0.05 * line) * (bottom - top)), text, fill=ink, font=small, anchor="mm"
        )
    return _finished(canvas, size)


@kind("boxes")
def white_box(material: Material, random: Random) -> Pixels:
    """A white carton on white, told by its shade alone, with print on its face."""
    size = _size(random)
    canvas = Image.new("RGB", (size[0] * TWICE, size[1] * TWICE), (255, 255, 255))
    on = ImageDraw.Draw(canvas)
    width, height = canvas.size
    left, top, right, bottom = 0.15 * width, 0.1 * height, 0.75 * width, 0.9 * height
    face, edge = int(random.integers(236, 253)), int(random.integers(205, 232))
    on.rectangle((left, top, right, bottom), fill=(face,) * 3)
    on.polygon(
        [(right, top), (0.87 * width, top + 0.04 * height), (0.87 * width, bottom - 0.04 * height), (right, bottom)],
        (edge,) * 3,
    )
    on.line((left, top, right, top, right, bottom, left, bottom, left, top), fill=(edge,) * 3, width=3)
    word = str(random.choice(PRINTED))
    font = ImageFont.load_default(min(0.14 * height, 1.4 * (right - left) / len(word)))
    on.text(((left + right) / 2, 0.35 * height), word, fill=_colour(random, 0, 120), font=font, anchor="mm")
    return _finished(canvas, size)


def clean_products(material: Material, count: int, random: Random) -> list[tuple[str, Pixels]]:
    """So many pictures, their kinds in turn, each with its kind, as a camera's JPEG would show them."""
    makers = [(name, make) for name, makes in KINDS.items() for make in makes]
    made = [
        (makers[place % len(makers)][0], makers[place % len(makers)][1](material, random)) for place in range(count)
    ]
    return [(name, as_jpeg(image, int(random.integers(80, 96)))) for name, image in made]


def as_jpeg(image: Pixels, quality: int) -> Pixels:
    """The picture as it comes back from a JPEG."""
    _, coded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.ascontiguousarray(cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1])
