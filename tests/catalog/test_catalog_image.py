"""Hostile and unusual image files: refused with a reason, or read as a person would see them."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from packshot.catalog.image import BadImage, ImageLimits, decode, encode, inspect, probe, read_carried, resolve_inside
from packshot.catalog.statistics import image_statistics

LIMITS = ImageLimits(64, 64, 32, ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP"))


def scene(height: int = 48, width: int = 64) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 255 // width, y * 255 // height, (x + y) % 256], axis=2).astype(np.uint8)


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def reason(path: Path, limits: ImageLimits = LIMITS) -> str:
    with pytest.raises(BadImage) as caught:
        probe(path, limits)
    assert path.name in str(caught.value)
    return caught.value.reason


def bomb(width: int, height: int) -> bytes:
    """A PNG header that claims width x height; nothing behind it is worth decoding."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")
    )


def test_truncated_jpeg_is_refused_even_where_another_library_allows_it(tmp_path, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    whole = saved(tmp_path / "a.jpg", Image.fromarray(noise)).read_bytes()
    cut = tmp_path / "cut.jpg"
    for share in (0.1, 0.5, 0.9):
        cut.write_bytes(whole[: int(len(whole) * share)])
        assert reason(cut) == "truncated"


@pytest.mark.parametrize("suffix", ["png", "webp", "gif", "tiff", "bmp"])
def test_truncated_files_of_other_formats_are_refused(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    path = saved(tmp_path / f"a.{suffix}", Image.fromarray(noise))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert reason(path) in ("truncated", "not_an_image")


def test_what_is_no_image_is_named(tmp_path):
    text = tmp_path / "text.jpg"
    text.write_text("this is not a picture\n" * 20)
    assert reason(text) == "not_an_image"
    empty = tmp_path / "empty.jpg"
    empty.touch()
    assert reason(empty) == "empty_file"
    assert reason(tmp_path / "gone.jpg") == "missing_file"
    folder = tmp_path / "folder.jpg"
    folder.mkdir()
    assert reason(folder) == "missing_file"
    pdf = tmp_path / "page.jpg"
    pdf.write_bytes(b"%PDF-1.7 ...")
    assert reason(pdf) == "unsupported_format"


def test_decompression_bombs_are_refused_from_the_header(tmp_path):
    huge = tmp_path / "bomb.png"
    huge.write_bytes(bomb(30_000, 30_000))
    assert reason(huge) == "too_many_pixels"
    huge.write_bytes(bomb(9_000, 9_000))
    assert reason(huge) == "too_many_pixels"
    with pytest.raises(BadImage, match="64"):
        decode(bomb(9_000, 9_000), LIMITS)


def test_limits_on_bytes_sides_and_formats(tmp_path):
    path = saved(tmp_path / "a.png", Image.fromarray(scene(48, 31)))
    assert reason(path) == "too_small"
    path = saved(tmp_path / "b.png", Image.fromarray(scene()))
    assert reason(path, ImageLimits(64, 0.0001, 32, LIMITS.formats)) == "too_large_file"
    assert reason(path, ImageLimits(64, 64, 32, ("JPEG",))) == "unsupported_format"


def test_format_is_that_of_the_content(tmp_path):
    path = saved(tmp_path / "really_png.jpg", Image.fromarray(scene()), format="PNG")
    info = probe(path, LIMITS)
    assert (info.format, info.width, info.height, info.bytes) == ("PNG", 64, 48, path.stat().st_size)


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path, suffix):
    ramp = np.tile(np.linspace(0, 65535, 256).astype(np.uint16), (40, 1))
    path = saved(tmp_path / f"deep.{suffix}", Image.fromarray(ramp))
    pixels = decode(path, LIMITS)
    assert np.abs(pixels[0, :, 0].astype(int) - np.arange(256)).max() <= 1
    assert (pixels[..., 0] == pixels[..., 2]).all()


def test_float_tiff_is_scaled(tmp_path):
    ramp = np.tile(np.linspace(0, 1, 256, dtype=np.float32), (40, 1))
    pixels = decode(saved(tmp_path / "float.tiff", Image.fromarray(ramp)), LIMITS)
    assert np.abs(pixels[0, :, 1].astype(int) - np.arange(256)).max() <= 1


def test_cmyk_palette_and_grey_become_rgb(tmp_path):
    colour = Image.fromarray(scene())
    cmyk = decode(saved(tmp_path / "c.jpg", colour.convert("CMYK"), quality=100), LIMITS)
    assert np.abs(cmyk.astype(int) - scene().astype(int)).mean() < 4
    palette = decode(saved(tmp_path / "p.png", colour.quantize(256)), LIMITS)
    assert np.abs(palette.astype(int) - scene().astype(int)).mean() < 12
    grey = decode(saved(tmp_path / "g.png", colour.convert("L")), LIMITS)
    assert grey.shape == (48, 64, 3) and (grey[..., 0] == np.asarray(colour.convert("L"))).all()
    assert decode(saved(tmp_path / "b.png", colour.convert("1")), LIMITS).shape == (48, 64, 3)


def test_transparency_is_shown_on_white(tmp_path):
    rgba = np.dstack([scene(), np.full((48, 64), 255, np.uint8)])
    rgba[:, :20, 3] = 0
    rgba[:, 20:40, 3] = 128
    pixels = decode(saved(tmp_path / "a.png", Image.fromarray(rgba)), LIMITS)
    assert (pixels[:, :20] == 255).all()
    assert np.abs(pixels[:, 20:40] - (scene()[:, 20:40] * (128 / 255) + 255 * (127 / 255))).max() <= 1
    assert (pixels[:, 40:] == scene()[:, 40:]).all()
    grey_alpha = decode(saved(tmp_path / "la.png", Image.fromarray(rgba).convert("LA")), LIMITS)
    assert (grey_alpha[:, :20] == 255).all()
    palette = Image.fromarray(np.zeros((40, 40), np.uint8), "P")
    palette.putpalette([10, 20, 30] * 256)
    see_through = decode(saved(tmp_path / "p.gif", palette, transparency=0), LIMITS)
    assert (see_through == 255).all()


@pytest.mark.parametrize("suffix", ["jpg", "tiff", "png", "webp"])
def test_exif_rotation_is_applied_once(tmp_path, suffix):
    exif = Image.Exif()
    exif[0x0112] = 6
    bright_left = np.zeros((48, 64, 3), np.uint8)
    bright_left[:, :32] = 255
    path = saved(tmp_path / f"r.{suffix}", Image.fromarray(bright_left), exif=exif)
    info, pixels = inspect(path, LIMITS)
    assert (info.width, info.height) == (48, 64) and pixels.shape == (64, 48, 3)
    assert pixels[:24].mean() > 240 and pixels[40:].mean() < 15


def test_animation_gives_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "lime", "blue")]
    path = saved(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:], duration=50)
    assert (decode(path, LIMITS)[0, 0] == (255, 0, 0)).all()


@pytest.mark.parametrize("relative", ["../outside.png", "/etc/passwd", "a/../../outside.png", "link.png", "x\0.png"])
def test_paths_stay_inside_their_root(tmp_path, relative):
    root = tmp_path / "images"
    root.mkdir()
    (tmp_path / "outside.png").write_bytes(b"x")
    (root / "link.png").symlink_to(tmp_path / "outside.png")
    with pytest.raises(BadImage) as caught:
        resolve_inside(root, relative)
    assert caught.value.reason == "outside_root"
    assert resolve_inside(root, "set/one.png") == root.resolve() / "set" / "one.png"


@pytest.mark.parametrize("format", ["PNG", "TIFF", "BMP"])
def test_lossless_formats_come_back_unchanged(tmp_path, format):
    encode(scene(), tmp_path / "out", format=format)
    assert (decode(tmp_path / "out", LIMITS) == scene()).all()


def test_jpeg_keeps_full_chroma(tmp_path):
    encode(scene(), tmp_path / "out.jpg", format="JPEG")
    with Image.open(tmp_path / "out.jpg") as written:
        assert {layer[1:3] for layer in written.layer} == {(1, 1)}


def test_alpha_survives_and_shows_the_same_picture_on_white(tmp_path):
    alpha = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (48, 1))
    source = saved(tmp_path / "in.png", Image.fromarray(np.dstack([scene(), alpha])))
    shown, kept = decode(source, LIMITS), read_carried(source, LIMITS).alpha
    assert kept is not None and (kept == alpha).all()
    encode(shown, tmp_path / "out.png", format="PNG", alpha=kept)
    assert (read_carried(tmp_path / "out.png", LIMITS).alpha == alpha).all()
    assert np.abs(decode(tmp_path / "out.png", LIMITS).astype(int) - shown.astype(int)).max() <= 1
    assert read_carried(saved(tmp_path / "plain.png", Image.fromarray(scene())), LIMITS).alpha is None
    with pytest.raises(ValueError, match="alpha"):
        encode(shown, tmp_path / "no.jpg", format="JPEG", alpha=kept)


def test_random_bytes_behind_a_signature_never_escape_as_another_error():
    generator = np.random.default_rng(3)
    starts = [b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0", b"RIFF\x40\0\0\0WEBPVP8 "]
    for _ in range(200):
        start = starts[int(generator.integers(len(starts)))]
        with pytest.raises(BadImage):
            decode(start + generator.bytes(int(generator.integers(1, 400))), LIMITS)


def test_flipped_bytes_in_real_files_are_a_picture_or_a_bad_image():
    generator = np.random.default_rng(4)
    for format in ("JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP"):
        buffer = io.BytesIO()
        Image.fromarray(scene()).save(buffer, format=format)
        for _ in range(40):
            damaged = bytearray(buffer.getvalue())
            for place in generator.integers(0, len(damaged), 4):
                damaged[place] = int(generator.integers(256))
            try:
                assert decode(bytes(damaged), LIMITS).dtype == np.uint8
            except BadImage:
                continue


def test_statistics_tell_pictures_apart():
    white = image_statistics(np.full((600, 900, 3), 255, np.uint8))
    assert white["white_share"] == 1 and white["brightness"] == 1 and white["sharp_laplacian"] == 0
    assert (white["width"], white["height"], white["aspect"]) == (900, 600, 1.5)
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    assert image_statistics(noise)["sharp_laplacian"] > 100 * image_statistics(scene(300, 300))["sharp_laplacian"]
    assert image_statistics(scene())["saturation"] > 0.3
