"""Text, watermarks, badges and strips laid over clean pictures, and print that belongs to what they show: what the
network of the rule `laid_over` learns to tell apart."""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image as Drawing
from PIL import ImageDraw, ImageFont

from packshot.model.preprocess import Image

Mask = npt.NDArray[np.uint8]
Random = np.random.Generator

WORDS = (
    "sale", "new", "free", "shipping", "discount", "limited", "offer", "best", "price", "official", "store", "shop",
    "outlet", "original", "premium", "quality", "warranty", "years", "only", "today", "deal", "hot", "top", "rated",
    "eco", "copyright", "photo", "studio", "sample", "preview", "stock", "image", "gratis", "rabatt", "angebot", "neu",
    "promo", "solde", "oferta", "nuevo", "delivery", "in stock", "wholesale", "order now", "click here", "call us",
    "organic", "net weight", "size", "cotton", "style", "made with love", "great", "care", "fresh", "daily", "extra",
)  # fmt: skip
OPAQUE, FAINT = (0.8, 1.0), (0.22, 0.75)
"""How much of the picture text and badges cover, and watermarks."""
CLEAN, PRINTED = 0.3, 0.55
"""Shares up to which a copy has nothing laid over it: as it is, and with print on what it shows."""
BESIDE = 0.3
"""Share of the copies with something laid over that have print as well."""


@dataclass(frozen=True)
class LaidOver:
    """A copy (uint8, H x W x 3, RGB) and where something is laid over it, H x W, 0 or 1."""

    image: Image
    mask: Mask


class Fonts:
    """What text is set in: font files, the font that Pillow brings, and the strokes of OpenCV."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = list(files)

    def drawn(self, text: str, height: int, random: Random) -> Mask:
        """The text as a mask, 0..255, about so many pixels high and as wide as it takes."""
        kind = int(random.integers(len(self._files) + 2))
        if kind == 0:
            return _stroked(text, height, random)
        size = max(6, height)
        font = ImageFont.load_default(size) if kind == 1 else ImageFont.truetype(str(self._files[kind - 2]), size)
        left, top, right, bottom = ImageDraw.Draw(Drawing.new("L", (1, 1))).textbbox((0, 0), text, font=font)
        page = Drawing.new("L", (max(1, int(right - left)) + 4, max(1, int(bottom - top)) + 4))
        bold = int(random.random() < 0.3) * max(1, size // 20)
        ImageDraw.Draw(page).text((2 - left, 2 - top), text, fill=255, font=font, stroke_width=bold)
        return np.asarray(page, np.uint8)


def _stroked(text: str, height: int, random: Random) -> Mask:
    faces = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX, cv2.FONT_HERSHEY_TRIPLEX)
    face, thick = faces[int(random.integers(len(faces)))], max(1, round(height * random.uniform(0.04, 0.14)))
    (width, tall), base = cv2.getTextSize(text, face, height / 30, thick)
    page = np.zeros((tall + base + 4, max(1, width) + 4), np.uint8)
    return np.asarray(cv2.putText(page, text, (2, tall + 2), face, height / 30, 255, thick, cv2.LINE_AA), np.uint8)


def words(random: Random, most: int = 4) -> str:
    """A few words, an address, a price or a date, in capitals or not."""
    kind = random.random()
    if kind < 0.12:
        return f"www.{random.choice(WORDS).replace(' ', '')}{random.integers(10, 99)}.com"
    if kind < 0.24:
        return str(random.choice([f"-{random.integers(5, 90)}%", f"{random.integers(1, 400)},99 €",
                                  f"${random.integers(1, 400)}.99", f"{random.integers(10, 90)}% OFF"]))  # fmt: skip
    if kind < 0.3:
        return f"20{random.integers(10, 27)}-{random.integers(10, 13)}-{random.integers(10, 29)}"
    if kind < 0.4:
        return "".join(random.choice(list(string.ascii_letters + string.digits), int(random.integers(3, 12))))
    text = " ".join(str(random.choice(WORDS)) for _ in range(int(random.integers(1, most + 1))))
    cases: tuple[Callable[[str], str], ...] = (str.upper, str.title, str)
    text = cases[int(random.integers(3))](text)
    return f"© {text}" if random.random() < 0.08 else text


def lay_over(image: Image, fonts: Fonts, random: Random) -> LaidOver:
    """One kind of thing laid over the picture, sometimes two."""
    mask = np.zeros(image.shape[:2], np.uint8)
    for _ in range(1 + int(random.random() < 0.2)):
        kind = KINDS[int(random.choice(len(KINDS), p=SHARES))]
        image = kind(image, mask, fonts, random)
    return LaidOver(image, mask)


def _inks(random: Random) -> npt.NDArray[np.float64]:
    kind = random.random()
    if kind < 0.4:
        return np.full(3, 255.0)
    if kind < 0.55:
        return np.full(3, float(random.integers(0, 40)))
    if kind < 0.7:
        return np.full(3, float(random.integers(90, 220)))
    return random.integers(0, 256, 3).astype(np.float64)


def _blended(image: Image, layer: Mask, ink: npt.NDArray[np.float64], opacity: float) -> Image:
    share = (layer.astype(np.float32) / 255 * opacity)[..., None]
    return np.asarray(np.rint(share * ink + (1 - share) * image), np.uint8)


def _visible(image: Image, layer: Mask, ink: npt.NDArray[np.float64], random: Random) -> npt.NDArray[np.float64]:
    """The ink, or another where it would not be seen on what lies there."""
    under = image[layer > 127] if (layer > 127).any() else image.reshape(-1, 3)
    for _ in range(8):
        if np.abs(under.mean(axis=0) - ink).max() > 50:
            return ink
        ink = _inks(random)
    return np.full(3, 255.0 if under.mean() < 128 else 0.0)


def _pasted(layer: Mask, stamp: Mask, top: int, left: int) -> None:
    """Add a stamp to a layer, what reaches out cut off."""
    height, width = layer.shape
    above, before = max(0, -top), max(0, -left)
    part = stamp[above : max(above, height - top), before : max(before, width - left)]
    if part.size:
        place = layer[max(0, top) : max(0, top) + part.shape[0], max(0, left) : max(0, left) + part.shape[1]]
        np.maximum(place, part, out=place)


def _turned(stamp: Mask, degrees: float) -> Mask:
    return np.asarray(Drawing.fromarray(stamp).rotate(degrees, Drawing.Resampling.BICUBIC, expand=True), np.uint8)


def _marked(mask: Mask, layer: Mask, random: Random) -> None:
    """Note where a layer of text is: its letters, with what is between them."""
    reach = max(3, round(0.012 * max(layer.shape))) | 1
    np.maximum(mask, (cv2.dilate(layer, np.ones((reach, reach), np.uint8)) > 60).astype(np.uint8), out=mask)


def _fitting(text: str, height: int, widest: float, fonts: Fonts, random: Random) -> Mask:
    stamp = fonts.drawn(text, height, random)
    scale = min(1.0, widest / stamp.shape[1])
    if scale == 1:
        return stamp
    size = (max(1, round(scale * stamp.shape[1])), max(1, round(scale * stamp.shape[0])))
    return np.asarray(cv2.resize(stamp, size, interpolation=cv2.INTER_AREA), np.uint8)


def caption(image: Image, mask: Mask, fonts: Fonts, random: Random) -> Image:
    """One to three lines of text, mostly near an edge or in the middle; with a shadow or an outline at times."""
    height, width = image.shape[:2]
    layer = np.zeros((height, width), np.uint8)
    size = max(8, round(random.uniform(0.03, 0.14) * min(height, width)))
    top = int(random.choice([0.03, random.uniform(0, 0.9), 0.45, 0.88]) * height)
    aside, random_left = random.random(), random.uniform(0, 0.6)
    for line in range(int(random.integers(1, 4))):
        stamp = _fitting(words(random), size, 0.95 * width, fonts, random)
        left = {0: 0.03 * width, 1: (width - stamp.shape[1]) / 2, 2: 0.97 * width - stamp.shape[1]}.get(
            int(aside * 4), random_left * width
        )
        _pasted(layer, stamp, min(top, height - stamp.shape[0]) + round(1.25 * line * size), round(left))
    if random.random() < 0.15:
        layer = np.asarray(cv2.rotate(layer, cv2.ROTATE_90_CLOCKWISE))
        layer = np.asarray(cv2.resize(layer, (width, height)))
    ink = _visible(image, layer, _inks(random), random)
    if random.random() < 0.3:
        shift = max(1, size // 14)
        shadow = np.roll(layer, (shift, shift), (0, 1)) if random.random() < 0.5 else cv2.dilate(layer, np.ones((3, 3)))
        image = _blended(image, np.asarray(shadow, np.uint8), 255 - ink, random.uniform(0.4, 1.0))
    _marked(mask, layer, random)
    return _blended(image, layer, ink, random.uniform(*OPAQUE))


def watermark(image: Image, mask: Mask, fonts: Fonts, random: Random) -> Image:
    """Faint text, once across the picture or again and again over all of it, level or slanting; a sign at times."""
    height, width = image.shape[:2]
    layer = np.zeros((height, width), np.uint8)
    angle = float(random.choice([0, 0, 45, -45, 30, -30, random.uniform(-60, 60)]))
    text = words(random, 3)
    if random.random() < 0.45:
        size = max(8, round(random.uniform(0.03, 0.07) * min(height, width)))
        stamp = _turned(np.pad(_fitting(text, size, 0.5 * width, fonts, random), 1), angle)
        down, across = (round(side * random.uniform(1.15, 2.2)) for side in stamp.shape)
        for row, top in enumerate(range(-stamp.shape[0] // 2, height, max(12, down))):
            for left in range(-stamp.shape[1] // 2 + (row % 2) * across // 2 - across, width, max(12, across)):
                _pasted(layer, stamp, top, left)
    else:
        size = max(10, round(random.uniform(0.05, 0.2) * min(height, width)))
        stamp = _turned(np.pad(_fitting(text, size, 0.9 * width, fonts, random), 1), angle)
        if random.random() < 0.25:
            stamp = _under(_sign(2 * size, random), stamp)
        top, left = (round(random.uniform(0.1, 0.9) * side) for side in (height, width))
        if random.random() < 0.6:
            top, left = height // 2, width // 2
        _pasted(layer, stamp, top - stamp.shape[0] // 2, left - stamp.shape[1] // 2)
    ink = _visible(image, layer, _inks(random), random)
    _marked(mask, layer, random)
    if random.random() < 0.2:
        image = _blended(image, np.asarray(np.roll(layer, (1, 1), (0, 1)), np.uint8), 255 - ink, 0.3)
    return _blended(image, layer, ink, random.uniform(*FAINT))


def _under(sign: Mask, stamp: Mask) -> Mask:
    """A stamp with a sign above it, in the middle."""
    page = np.zeros((sign.shape[0] + stamp.shape[0], max(sign.shape[1], stamp.shape[1])), np.uint8)
    _pasted(page, sign, 0, (page.shape[1] - sign.shape[1]) // 2)
    _pasted(page, stamp, sign.shape[0], (page.shape[1] - stamp.shape[1]) // 2)
    return page


def _sign(side: int, random: Random) -> Mask:
    """A ring, a disc, a star, a frame or a triangle, side x side."""
    page, middle, radius = np.zeros((side, side), np.uint8), (side // 2, side // 2), max(2, side // 2 - 2)
    thick = -1 if random.random() < 0.4 else max(1, round(side * random.uniform(0.04, 0.12)))
    kind = int(random.integers(4))
    if kind == 0:
        cv2.circle(page, middle, radius, 255, thick, cv2.LINE_AA)
    elif kind == 1:
        turns = np.arange(10) * np.pi / 5 - np.pi / 2
        reach = radius * np.where(np.arange(10) % 2, 0.45, 1.0)
        points = np.stack([middle[0] + reach * np.cos(turns), middle[1] + reach * np.sin(turns)], axis=1)
        cv2.polylines(page, [points.astype(np.int32)], True, 255, abs(thick), cv2.LINE_AA)
    elif kind == 2:
        cv2.rectangle(page, (middle[0] - radius, 2), (middle[0] + radius, side - 3), 255, thick)
    else:
        corners = np.array([[middle[0], 2], [middle[0] - radius, side - 3], [middle[0] + radius, side - 3]], np.int32)
        cv2.polylines(page, [corners], True, 255, abs(thick), cv2.LINE_AA)
    return page


def badge(image: Image, mask: Mask, fonts: Fonts, random: Random) -> Image:
    """A disc, a box or a ribbon of one colour with a word or two in it, mostly in a corner."""
    height, width = image.shape[:2]
    side = max(24, round(random.uniform(0.12, 0.32) * min(height, width)))
    wide = side if random.random() < 0.5 else min(width, round(side * random.uniform(1.2, 2.6)))
    plate = np.zeros((side, wide), np.uint8)
    shape = int(random.integers(4))
    if shape == 0:
        cv2.ellipse(plate, (wide // 2, side // 2), (wide // 2 - 1, side // 2 - 1), 0, 0, 360, 255, -1, cv2.LINE_AA)
    elif shape == 1:
        spikes = int(random.integers(8, 20)) * 2
        turns = np.arange(spikes) * 2 * np.pi / spikes
        reach = np.where(np.arange(spikes) % 2, 0.84, 1.0)
        points = [wide / 2 + reach * wide / 2 * np.cos(turns), side / 2 + reach * side / 2 * np.sin(turns)]
        cv2.fillPoly(plate, [np.stack(points, axis=1).astype(np.int32)], 255, cv2.LINE_AA)
    else:
        plate[:] = 255
    text = np.zeros_like(plate)
    lines = [words(random, 1) for _ in range(1 if wide > side else int(random.integers(1, 3)))]
    each = round(side * random.uniform(0.3, 0.6) / len(lines))
    for line, said in enumerate(lines):
        stamp = _fitting(said, each, 0.8 * wide, fonts, random)
        top = round(side / 2 + (line - len(lines) / 2) * 1.2 * each)
        _pasted(text, stamp, top, (wide - stamp.shape[1]) // 2)
    text = np.minimum(text, plate)
    if shape == 3 and random.random() < 0.5:
        angle = float(random.choice([45, -45, 20, -12]))
        plate, text = _turned(plate, angle), _turned(text, angle)
    places = [(0.02, 0.02), (0.02, 0.98), (0.98, 0.02), (0.98, 0.98), (random.random(), random.random())]
    down, across = places[int(random.integers(len(places)))]
    top, left = round(down * (height - plate.shape[0])), round(across * (width - plate.shape[1]))
    layers = [np.zeros((height, width), np.uint8) for _ in range(2)]
    _pasted(layers[0], plate, top, left)
    _pasted(layers[1], text, top, left)
    return _plated(image, mask, layers[0], layers[1], random)


def _plated(image: Image, mask: Mask, plate: Mask, text: Mask, random: Random) -> Image:
    colour = random.integers(0, 256, 3).astype(np.float64)
    ink = np.full(3, 255.0 if colour.mean() < 150 else float(random.integers(0, 50)))
    np.maximum(mask, (plate > 60).astype(np.uint8), out=mask)
    image = _blended(image, plate, colour, float(random.choice([1.0, 1.0, random.uniform(0.5, 0.95)])))
    return _blended(image, text, ink, 1.0)


def strip(image: Image, mask: Mask, fonts: Fonts, random: Random) -> Image:
    """A band of one colour with words in it, from edge to edge or nearly: level, upright or across a corner."""
    height, width = image.shape[:2]
    plate, text = (np.zeros((height, width), np.uint8) for _ in range(2))
    thick = max(12, round(random.uniform(0.06, 0.24) * height))
    inset = 0 if random.random() < 0.7 else round(random.uniform(0.02, 0.15) * width)
    top = int(random.choice([0, height - thick, round(random.uniform(0, 1) * (height - thick))]))
    plate[top : top + thick, inset : width - inset] = 255
    lines = int(random.integers(1, 3)) if thick > 40 else 1
    each = round(thick * random.uniform(0.35, 0.7) / lines)
    for line in range(lines):
        stamp = _fitting(words(random, 5), each, 0.9 * (width - 2 * inset), fonts, random)
        left = inset + round((width - 2 * inset - stamp.shape[1]) * float(random.choice([0.05, 0.5, 0.95])))
        _pasted(text, stamp, round(top + thick / 2 + (line - lines / 2) * 1.15 * each), left)
    text = np.minimum(text, plate)
    kind = random.random()
    if kind < 0.2:
        middle, angle = (width / 2, height / 2), float(random.choice([45, -45, 30, -30]))
        turn = cv2.getRotationMatrix2D(middle, angle, 1.3)
        plate, text = (np.asarray(cv2.warpAffine(each, turn, (width, height)), np.uint8) for each in (plate, text))
    elif kind < 0.3:
        upright = [cv2.resize(cv2.rotate(each, cv2.ROTATE_90_CLOCKWISE), (width, height)) for each in (plate, text)]
        plate, text = (np.asarray(each, np.uint8) for each in upright)
    return _plated(image, mask, plate, text, random)


def sign(image: Image, mask: Mask, fonts: Fonts, random: Random) -> Image:
    """A sign with its name, faint or not, in a corner or in the middle."""
    height, width = image.shape[:2]
    side = max(16, round(random.uniform(0.08, 0.25) * min(height, width)))
    layer = np.zeros((height, width), np.uint8)
    top, left = (round(float(random.choice([0.03, 0.5, 0.97])) * (each - side)) for each in (height, width))
    _pasted(layer, _sign(side, random), top, left)
    stamp = _fitting(words(random, 2), max(8, side // 3), 0.6 * width, fonts, random)
    beside = random.random() < 0.5
    _pasted(layer, stamp, top + side // 3 if beside else min(height - side // 3, top + side), left + side * beside)
    _marked(mask, layer, random)
    ink = _visible(image, layer, _inks(random), random)
    return _blended(image, layer, ink, random.uniform(0.3, 1.0))


Kind = Callable[[Image, Mask, Fonts, Random], Image]
KINDS: tuple[Kind, ...] = (caption, watermark, badge, strip, sign)
SHARES = (0.3, 0.35, 0.12, 0.13, 0.1)


def print_on(image: Image, fonts: Fonts, random: Random) -> Image:
    """Print on what the picture shows: text and plates seen in perspective, lit and as soft as what they lie on."""
    height, width = image.shape[:2]
    for _ in range(int(random.integers(1, 4))):
        side = max(24, round(random.uniform(0.12, 0.5) * min(height, width)))
        label = np.zeros((side, round(side * random.uniform(0.7, 2.2))), np.uint8)
        plate = np.full_like(label, 255 if random.random() < 0.6 else 0)
        top = 2
        while top < 0.8 * side:
            size = max(6, round(side * random.uniform(0.08, 0.35)))
            stamp = _fitting(words(random), size, 0.92 * label.shape[1], fonts, random)
            _pasted(label, stamp, top, round(random.uniform(0.02, 0.5) * max(0, label.shape[1] - stamp.shape[1])))
            top += round(size * random.uniform(1.1, 1.8))
        image = _printed(image, label, plate, random)
    return image


def _printed(image: Image, label: Mask, plate: Mask, random: Random) -> Image:
    height, width = image.shape[:2]
    tall, wide = label.shape
    centre = random.uniform(0.25, 0.75, 2) * (width, height)
    corners = np.array([[-wide, -tall], [wide, -tall], [wide, tall], [-wide, tall]]) / 2
    angle = random.normal(0, 0.25)
    corners = corners @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    corners = centre + corners * random.uniform(0.85, 1.15, (4, 2)) + random.normal(0, 0.05 * tall, (4, 2))
    source = np.array([[0, 0], [wide, 0], [wide, tall], [0, tall]], np.float32)
    warp = cv2.getPerspectiveTransform(source, corners.astype(np.float32))
    x, y, across, down = cv2.boundingRect(corners.astype(np.float32))
    rows = slice(max(0, y - 6), max(0, min(height, y + down + 6)))
    columns = slice(max(0, x - 6), max(0, min(width, x + across + 6)))
    if rows.stop <= rows.start or columns.stop <= columns.start:
        return image
    soft = random.uniform(0.5, 1.6)
    layers = [
        cv2.GaussianBlur(cv2.warpPerspective(each, warp, (width, height))[rows, columns], (0, 0), soft)
        for each in (label, plate)
    ]
    result = image.copy()
    part = image[rows, columns].astype(np.float32)
    weave = max(3, round(random.uniform(0.01, 0.1) * max(height, width))) | 1
    lit = np.asarray(cv2.blur(part.mean(axis=2), (weave, weave))) / 255
    lit = np.clip(lit / max(float(np.quantile(lit, 0.95)), 0.05), 0.15, 1.0)
    lit = lit + random.standard_normal(lit.shape, np.float32) * (random.uniform(0.5, 4.0) / 255)
    for layer, colour in zip(layers[::-1], (random.integers(0, 256, 3), _inks(random)), strict=True):
        share = (np.asarray(layer, np.float32) * (0.95 / 255))[..., None]
        part = share * (lit[..., None] * colour.astype(np.float32)) + (1 - share) * part
    result[rows, columns] = np.clip(np.rint(part), 0, 255)
    return result


def lesson(image: Image, fonts: Fonts, random: Random) -> LaidOver:
    """A copy with nothing laid over it, with print, or with something laid over; as a JPEG, as shops send them."""
    kind = random.random()
    if random.random() < 0.5:
        image = np.ascontiguousarray(image[:, ::-1])
    if CLEAN <= kind < PRINTED or (kind >= PRINTED and random.random() < BESIDE):
        image = print_on(image, fonts, random)
    copy = LaidOver(image, np.zeros(image.shape[:2], np.uint8)) if kind < PRINTED else lay_over(image, fonts, random)
    _, packed = cv2.imencode(".jpg", copy.image, [cv2.IMWRITE_JPEG_QUALITY, int(random.integers(60, 97))])
    return LaidOver(np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8), copy.mask)
