"""Metadata is not the picture, damaged pixels are, and colours are what a profile says they are."""

from __future__ import annotations

import base64
import io
import pickle
import struct
import time
import zlib
from pathlib import Path

import cv2
import numpy as np
import picture_bytes as made
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from packshot.catalog.containers import exif, jpeg, png
from packshot.catalog.containers.colour import srgb_profile
from packshot.catalog.image import BadImage, ImageInfo, ImageLimits, decode, inspect, read_carried

LIMITS = ImageLimits(64, 64, 32, ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP"))
PHOTO = made.photograph()
JPEG = made.saved(PHOTO, "JPEG", quality=90)
PNG = made.saved(PHOTO, "PNG")


def seen(tmp_path: Path, content: bytes) -> tuple[ImageInfo, np.ndarray]:
    (tmp_path / "file").write_bytes(content)
    return inspect(tmp_path / "file", LIMITS)


def refused(content: bytes) -> BadImage:
    with pytest.raises(BadImage) as caught:
        decode(content, LIMITS)
    return caught.value


def codes(info: ImageInfo) -> list[str]:
    return [note.split(":")[0] for note in info.notes]


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 0}, {"subsampling": 2}, {"quality": 30}]
)
@pytest.mark.parametrize("grey", [False, True])
def test_pixels_of_an_ordinary_jpeg_are_those_of_pillow(options, grey):
    for seed, size in enumerate([(160, 120), (33, 47), (64, 200)]):
        pixels = made.photograph(*size, seed)
        content = made.saved(pixels[..., 0].copy() if grey else pixels, "JPEG", **options)
        assert np.array_equal(decode(content, LIMITS), np.asarray(Image.open(io.BytesIO(content)).convert("RGB")))


def test_pixels_of_an_ordinary_png_are_those_of_pillow():
    for pixels in (PHOTO, PHOTO[..., 0].copy(), np.asarray(Image.fromarray(PHOTO).quantize(64).convert("RGB"))):
        content = made.saved(pixels, "PNG")
        assert np.array_equal(decode(content, LIMITS), np.asarray(Image.open(io.BytesIO(content)).convert("RGB")))


# --- metadata


ODD_VALUES = {
    "float": (306, 11, 1, struct.pack("<f", float("nan"))),
    "double": (33434, 12, 1, struct.pack("<d", float("inf"))),
    "over zero": (282, 5, 1, struct.pack("<II", 1, 0)),
    "negative over zero": (282, 10, 1, struct.pack("<ii", -1, 0)),
    "no such kind": (270, 99, 1, b"\0\0\0\0"),
    "beyond the end": (270, 2, 1_000_000, struct.pack("<I", 26)),
}


@pytest.mark.parametrize("odd", ODD_VALUES.values(), ids=ODD_VALUES)
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_an_odd_value_in_exif_is_a_note_and_the_picture_stands_upright(tmp_path, odd, format):
    content = made.block([made.turned(6), odd])
    info, pixels = seen(tmp_path, made.saved(PHOTO, format, exif=b"Exif\0\0" + content))
    plain = decode(made.saved(PHOTO, format), LIMITS)
    assert (info.width, info.height) == (160, 120)
    assert np.array_equal(pixels, np.rot90(plain, -1))
    assert codes(info) == ["exif_odd"]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_every_orientation_is_applied_as_pillow_does(tmp_path, orientation, format):
    tag = Image.Exif()
    tag[274] = orientation
    content = made.saved(PHOTO, format, exif=tag)
    plain = Image.fromarray(decode(made.saved(PHOTO, format), LIMITS))
    ways = [None, 0, 3, 1, 5, 4, 6, 2]  # of Image.Transpose
    way = ways[orientation - 1]
    expected = plain if way is None else plain.transpose(Image.Transpose(way))
    info, pixels = seen(tmp_path, content)
    assert np.array_equal(pixels, np.asarray(expected)) and info.notes == ()


@pytest.mark.parametrize(
    "broken",
    [b"", b"II*\0", b"garbage", b"II*\0\xff\xff\xff\x7f", b"MM\0*\0\0\0\x08\0\xff", b"II*\0\x08\0\0\0\xff\xff"],
)
def test_exif_that_cannot_be_read_costs_nothing(tmp_path, broken):
    info, pixels = seen(tmp_path, made.with_segment(JPEG, 0xE1, b"Exif\0\0" + broken))
    assert np.array_equal(pixels, decode(JPEG, LIMITS))
    assert codes(info) == (["exif_odd"] if broken else [])


def test_xmp_says_the_orientation_where_exif_does_not(tmp_path):
    xmp = b"http://ns.adobe.com/xap/1.0/\0" + made.packet('tiff:Orientation="6"')
    assert seen(tmp_path, made.with_segment(JPEG, 0xE1, xmp))[0].width == 160
    with_both = made.with_segment(made.with_segment(JPEG, 0xE1, xmp), 0xE1, b"Exif\0\0" + made.block([made.turned(1)]))
    assert seen(tmp_path, with_both)[0].width == 120
    assert np.array_equal(seen(tmp_path, made.with_segment(JPEG, 0xE1, xmp[:60]))[1], decode(JPEG, LIMITS))


def test_a_wrong_length_of_a_metadata_segment_costs_nothing(tmp_path):
    thumbnail = made.saved(made.photograph(40, 40), "JPEG")
    body = b"Exif\0\0" + made.block([made.turned(1)], thumbnail)
    whole = made.with_segment(JPEG, 0xE1, body)
    for length in (0, 20, len(body) - 300, len(body) + 200, 65535):
        content = whole[:4] + struct.pack(">H", length) + whole[6:]
        _, pixels = seen(tmp_path, content)
        assert np.array_equal(pixels, decode(JPEG, LIMITS)), length


@pytest.mark.parametrize("short", [(0xE0, b"JFIF"), (0xEE, b"Adobe"), (0xE0, b"JFIF\0\1")])
def test_a_header_segment_that_is_too_short_costs_nothing(tmp_path, short):
    _, pixels = seen(tmp_path, made.with_segment(JPEG, *short))
    assert np.array_equal(pixels, decode(JPEG, LIMITS))


PNG_ODDITIES = {
    "transparency of another kind of colour": made.chunk(b"tRNS", b"\0\1"),
    "transparency of nothing": made.chunk(b"tRNS", b""),
    "profile with a wrong checksum": made.chunk(b"iCCP", b"x\0\0" + zlib.compress(srgb_profile()), 1),
    "profile that does not unpack": made.chunk(b"iCCP", b"x\0\0" + zlib.compress(srgb_profile())[:40]),
    "profile that is none": made.chunk(b"iCCP", b"x\0\0" + zlib.compress(b"nothing" * 30)),
    "enormous text": made.chunk(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(b"a" * 70_000_000)),
    "packed text": made.chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"a" * 70_000_000)),
    "text with a wrong checksum": made.chunk(b"tEXt", b"Comment\0hello", 7),
    "exif with a wrong checksum": made.chunk(b"eXIf", made.block([made.turned(6)]), 7),
    "wrong length": struct.pack(">I", 70_000) + b"tEXt" + b"Comment\0hello",
}


@pytest.mark.parametrize("odd", PNG_ODDITIES.values(), ids=PNG_ODDITIES)
def test_a_broken_chunk_beside_the_pixels_of_a_png_is_a_note(tmp_path, odd):
    info, pixels = seen(tmp_path, made.with_chunk(PNG, odd))
    assert np.array_equal(pixels, PHOTO)
    assert len(info.notes) == 1


def test_png_without_its_end_is_judged_and_without_pixels_is_not(tmp_path):
    info, pixels = seen(tmp_path, PNG[:-12])
    assert np.array_equal(pixels, PHOTO) and codes(info) == ["end_missing"]
    assert refused(PNG[: len(PNG) // 2]).reason == "truncated"


def test_png_whose_pixels_fail_their_checksum_is_damaged():
    at = PNG.index(b"IDAT")
    length = int.from_bytes(PNG[at - 4 : at], "big")
    wrong = PNG[: at + 4 + length] + b"\0\0\0\0" + PNG[at + 8 + length :]
    assert refused(wrong).reason == "damaged"
    flipped = bytearray(PNG)
    flipped[at + 300] ^= 0x10
    assert refused(bytes(flipped)).reason in ("damaged", "truncated")


@given(st.binary(max_size=400))
@settings(max_examples=60, deadline=None)
def test_no_metadata_ever_escapes_as_an_error(noise):
    for content in (
        made.with_segment(JPEG, 0xE1, b"Exif\0\0II*\0" + noise),
        made.with_segment(JPEG, 0xED, b"Photoshop 3.0\x008BIM" + noise),
        made.with_segment(JPEG, 0xE2, b"ICC_PROFILE\0\1\1" + noise),
        made.with_chunk(PNG, made.chunk(b"eXIf", noise)),
        made.with_chunk(PNG, made.chunk(b"iTXt", noise)),
    ):
        carried = read_carried(content, LIMITS)
        assert len(pickle.dumps(carried)) > 0
        assert decode(content, LIMITS).size == PHOTO.size


# --- damage


def cut_scan(content: bytes, share: float) -> bytes:
    found = jpeg.parse(content)
    assert found is not None
    return content[: found.scan_at + int((len(content) - found.scan_at) * share)]


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_rows": 1}])
@pytest.mark.parametrize("ended", [False, True])
def test_a_jpeg_that_ends_early_is_never_a_picture(options, ended):
    whole = made.saved(PHOTO, "JPEG", quality=90, **options)
    for share in (0.1, 0.3, 0.5, 0.7, 0.9, 0.98):
        error = refused(cut_scan(whole, share) + (jpeg.EOI if ended else b""))
        assert error.reason in ("truncated", "damaged") and "damaged" in error.detail


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}])
@pytest.mark.parametrize("lost", [1, 2])
def test_a_jpeg_without_its_end_marker_is_judged_with_a_note(tmp_path, options, lost):
    whole = made.saved(PHOTO, "JPEG", **options)
    info, pixels = seen(tmp_path, whole[:-lost])
    assert np.array_equal(pixels, decode(whole, LIMITS)) and codes(info) == ["end_missing"]


def test_a_progressive_jpeg_that_lacks_whole_scans_is_damaged():
    whole = made.saved(PHOTO, "JPEG", progressive=True)
    last = whole.rindex(b"\xff\xda")
    table = whole.rindex(b"\xff\xc4", 0, last)
    assert "scans are missing" in refused(whole[:table] + jpeg.EOI).detail


def test_lost_and_flipped_bytes_that_the_decoder_warns_of_are_damage():
    whole = made.saved(made.photograph(400, 400), "JPEG", quality=92)
    middle = len(whole) // 2
    assert refused(whole[:middle] + whole[middle + 4096 :]).reason == "damaged"
    restarted = made.saved(made.photograph(400, 400), "JPEG", quality=92, restart_marker_rows=2)
    third = restarted.index(b"\xff\xd3")
    assert refused(restarted[:third] + restarted[restarted.index(b"\xff\xd5") :]).reason == "damaged"


def filled(content: bytes, share: float, filling: bytes) -> bytes:
    """A file of which so much has come, and that was made longer before: what is missing is something else."""
    there = cut_scan(content, share)
    return there + (filling * len(content))[: 3 * len(content)]


FILLINGS = {"zeros": bytes(64), "spaces": b" " * 64, "a page": b"<p>504 Gateway Timeout</p>\r\n", "noise": None}


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True}, {"restart_marker_rows": 1}])
@pytest.mark.parametrize("filling", FILLINGS)
@pytest.mark.parametrize("ended", [False, True])
def test_a_jpeg_of_which_the_rest_is_filled_with_something_else_is_never_a_picture(options, filling, ended):
    whole = made.saved(PHOTO, "JPEG", quality=90, **options)
    noise = np.random.default_rng(5).integers(0, 255, 4096, np.uint8).tobytes()
    for share in (0.2, 0.5, 0.8):
        content = filled(whole, share, FILLINGS[filling] or noise) + (jpeg.EOI if ended else b"")
        assert refused(content).reason in ("truncated", "damaged"), share


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True}, {"restart_marker_rows": 1}])
def test_a_whole_jpeg_on_white_may_end_in_padding(tmp_path, options):
    page = np.full((200, 200, 3), 255, np.uint8)
    page[30:90, 40:120] = made.photograph(60, 80)
    whole = made.saved(page, "JPEG", quality=90, **options)
    ends = [b"", b"\xff" * 50 + jpeg.EOI]
    if "optimize" not in options:  # there white itself is coded as zeros, which cannot be told from a filling
        ends += [bytes(100), bytes(100) + jpeg.EOI]
    for end in ends:
        _, pixels = seen(tmp_path, whole[:-2] + end)
        assert np.array_equal(pixels, decode(whole, LIMITS)), end[:4]


def test_a_picture_that_was_transferred_as_text_is_named():
    webp = made.saved(made.photograph(400, 400), "WEBP", quality=90)
    assert webp.count(b"\n") > 20
    for content in (
        webp.replace(b"\n", b"\r\n"),
        PNG.replace(b"\r\n", b"\n"),
        PNG.replace(b"\n", b"\r\n"),
        JPEG.decode("latin-1").encode(),
        PNG.decode("utf-8", "replace").encode(),
    ):
        assert "transferred as text" in refused(content).detail


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xef\xbb\xbf" + JPEG, "before the picture"),
        (b"\r\n" + PNG, "before the picture"),
        (base64.b64encode(JPEG), "base64"),
        (b"data:image/png;base64," + base64.b64encode(PNG), "base64"),
        (b'{"error": "not found"}', "error message"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
    ],
)
def test_what_stands_in_place_of_a_picture_is_named(content, said):
    error = refused(content)
    assert error.reason == "not_an_image" and said in error.detail and "upload" in error.detail


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"P6\n# a comment\n64 64\n255\n" + bytes(64 * 64 * 3), "PNM"),
        (b"RIFF\x10\0\0\0CDRvvrsn", "CorelDRAW"),
        (b"RIFF\x10\0\0\0WAVEfmt ", "WAV"),
        (bytes(128) + b"DICM" + bytes(60), "DICOM"),
        (b"a.jpg" + bytes(252) + b"ustar\x0000" + bytes(300), "tar archive"),
        (b"\0\5\x16\7" + bytes(60), "AppleDouble"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(60), "Office"),
    ],
)
def test_other_formats_are_named(content, name):
    error = refused(content)
    assert error.reason == "unsupported_format" and name in error.detail and "upload" in error.detail


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits", None])
def test_a_tiff_that_ends_early_is_cut_off_and_not_unknown(compression):
    whole = made.saved(PHOTO, "TIFF", **({"compression": compression} if compression else {}))
    for share in (0.3, 0.6, 0.9):
        assert refused(whole[: int(share * len(whole))]).reason == "truncated"


def test_a_tiff_of_samples_that_are_not_read_is_named():
    encoded = cv2.imencode(".tif", PHOTO.astype(np.float32) / 255)[1].tobytes()
    error = refused(encoded)
    assert error.reason == "unsupported_format" and "32 bits, floating point" in error.detail


def test_bytes_before_the_end_marker_are_padding_only_where_they_mean_nothing(tmp_path):
    info, pixels = seen(tmp_path, JPEG[:-2] + bytes(40) + jpeg.EOI)
    assert np.array_equal(pixels, decode(JPEG, LIMITS)) and codes(info) == ["padded"]
    assert refused(JPEG[:-2] + JPEG[-300:-200] + jpeg.EOI).reason == "damaged"


def test_what_follows_the_end_marker_is_no_damage(tmp_path):
    info, _ = seen(tmp_path, JPEG + b"\0" * 100 + JPEG)
    assert info.notes == ()


def test_arithmetic_coding_is_judged_or_named():
    content = JPEG.replace(b"\xff\xc0", b"\xff\xc9", 1)  # not what it says, but said to be
    assert refused(content).reason in ("damaged", "truncated")
    lossless = JPEG.replace(b"\xff\xc0", b"\xff\xc3", 1)
    error = refused(lossless)
    assert error.reason == "unsupported_format" and "lossless" in error.detail and "PNG" in error.detail


PROGRESSIVE = made.saved(PHOTO, "JPEG", progressive=True)


def repeated_scan(count: int) -> bytes:
    """A progressive JPEG with its last scan again and again, each of which costs as much as the one."""
    last = PROGRESSIVE.rindex(b"\xff\xda")
    return PROGRESSIVE[:-2] + PROGRESSIVE[last:-2] * count + jpeg.EOI


def test_a_jpeg_of_very_many_scans_is_refused_unread():
    content = repeated_scan(20_000)
    begun = time.process_time()
    error = refused(content)
    assert error.reason == "too_many_scans" and "20010 scans" in error.detail
    assert time.process_time() - begun < 5


def test_a_jpeg_of_as_many_scans_as_encoders_write_is_read(tmp_path):
    assert len(list(jpeg.scans(jpeg.parse(PROGRESSIVE)))) == 10
    info, pixels = seen(tmp_path, PROGRESSIVE)
    assert info.notes == () and pixels.shape == PHOTO.shape
    assert refused(repeated_scan(50)).reason == "damaged", "no encoder writes a scan twice"


def test_what_only_looks_like_scans_in_metadata_or_behind_the_picture_is_none(tmp_path):
    like_scans = b"\xff\xda" * 1000
    for content in (JPEG + like_scans, made.with_segment(JPEG, 0xE5, like_scans)):
        assert np.array_equal(seen(tmp_path, content)[1], decode(JPEG, LIMITS))
    hidden = repeated_scan(300).replace(b"\xff\xda", b"\xff\x01\xff\xda")
    assert refused(hidden).reason == "too_many_scans"


# --- formats


def box(*brands: bytes) -> bytes:
    return (
        struct.pack(">I", 16 + 4 * (len(brands) - 1))
        + b"ftyp"
        + brands[0]
        + bytes(4)
        + b"".join(brands[1:])
        + bytes(64)
    )


def raw_file(*extra: tuple[int, int, int, bytes], second: list[tuple[int, int, int, bytes]] | None = None) -> bytes:
    """A TIFF file that opens with a thumbnail of 32 x 32."""

    def page(side: int, at: int, *more: tuple[int, int, int, bytes]) -> list[tuple[int, int, int, bytes]]:
        number = lambda tag, value: (tag, 4, 1, struct.pack("<I", value))  # noqa: E731
        facts = [(256, side), (257, side), (259, 1), (273, at), (277, 1), (278, side), (279, side * side), (258, 8)]
        found = {tag: number(tag, value) for tag, value in [*facts, (262, 1)]}
        return list((found | {entry[0]: entry for entry in more}).values())

    pixels = bytes(range(256)) * 40
    thumbnail = page(32, 8, *extra)
    first_at = 8 + len(pixels)
    second_at = first_at + len(made.directory(thumbnail, first_at))
    following = second_at if second is not None else 0
    rest = made.directory(page(96, 8, *second), second_at) if second is not None else b""
    return b"II*\0" + struct.pack("<I", first_at) + pixels + made.directory(thumbnail, first_at, following) + rest


REDUCED = (254, 4, 1, struct.pack("<I", 1))
DNG = (50706, 1, 4, b"\1\4\0\0")
FOREIGN = {
    "HEIC": box(b"heix", b"mif1", b"heic"),
    "HEIC in HEIF": box(b"mif1", b"miaf", b"heic"),
    "HEIF": box(b"msf1", b"iso8"),
    "AVIF": box(b"avif", b"mif1"),
    "CR3": box(b"crx ", b"isom"),
    "JPEG XL": b"\0\0\0\x0cJXL \r\n\x87\n" + box(b"jxl "),
    "JPEG XL codestream": b"\xff\x0a" + bytes(50),
    "JPEG 2000": b"\0\0\0\x0cjP  \r\n\x87\n" + box(b"jp2 "),
    "video": box(b"isom", b"mp42"),
    "PSD": b"8BPS\0\1" + bytes(50),
    "PDF": b"%PDF-1.7\n",
    "SVG": b'<?xml version="1.0"?>\n<!-- drawn -->\n<svg xmlns="http://www.w3.org/2000/svg"/>',
    "HTML": b"<!DOCTYPE html><html><body>404</body></html>",
    "ICO": b"\0\0\1\0" + bytes(50),
    "RAF": b"FUJIFILMCCD-RAW 0201" + bytes(50),
    "RW2": b"IIU\0\x18\0\0\0" + bytes(50),
    "ORF": b"IIRO\x08\0\0\0" + bytes(50),
    "DNG": raw_file(REDUCED, DNG, second=[]),
    "CR2": b"II*\0\x10\0\0\0CR\2\0" + bytes(50),
    "NEF": raw_file(REDUCED, made.text(271, "NIKON CORPORATION"), second=[(262, 3, 1, struct.pack("<H", 32803))]),
    "ARW": raw_file(REDUCED, made.text(271, "SONY"), second=[]),
    "TIFF that begins with a thumbnail": raw_file(REDUCED, second=[]),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_format_that_is_not_read_is_named_with_the_remedy(name):
    error = refused(FOREIGN[name])
    label = name.removesuffix(" codestream").removesuffix(" in HEIF")
    assert error.reason == "unsupported_format" and label in error.detail
    assert any(word in error.detail for word in ("export it", "upload"))
    assert "cut off" not in error.detail


def test_an_ordinary_tiff_of_several_pages_is_read_with_a_note(tmp_path):
    info, pixels = seen(tmp_path, raw_file(second=[]))
    assert pixels.shape == (32, 32, 3) and codes(info) == ["pages"]
    info, _ = seen(tmp_path, raw_file(second=[REDUCED]))
    assert info.notes == ()
    assert seen(tmp_path, raw_file())[0].format == "TIFF"


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG"])
def test_one_frame_of_an_animation_is_said(tmp_path, format):
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "lime", "blue")]
    buffer = io.BytesIO()
    frames[0].save(buffer, format, save_all=True, append_images=frames[1:], duration=50, lossless=True)
    info, pixels = seen(tmp_path, buffer.getvalue())
    assert tuple(pixels[0, 0]) == (255, 0, 0) and codes(info) == ["animated"]


# --- colour


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_colours_are_those_that_the_profile_speaks_of(tmp_path, format):
    options = {"JPEG": {"quality": 98, "subsampling": 0}, "WEBP": {"lossless": True}}.get(format, {})
    wide = made.saved(made.converted(PHOTO, made.ADOBE_RGB), format, icc_profile=made.ADOBE_RGB, **options)
    info, pixels = seen(tmp_path, wide)
    assert np.abs(pixels.astype(int) - PHOTO).mean() < 2.5 and info.notes == ()
    untagged = decode(made.saved(made.converted(PHOTO, made.ADOBE_RGB), format, **options), LIMITS)
    assert np.abs(untagged.astype(int) - PHOTO).mean() > 4
    assert read_carried(wide, LIMITS).profile == srgb_profile()


def test_a_profile_of_srgb_changes_no_pixel_and_is_kept():
    other = made.primaries((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
    for profile in (srgb_profile(), ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()):
        content = made.saved(PHOTO, "PNG", icc_profile=profile)
        assert np.array_equal(decode(content, LIMITS), PHOTO) and read_carried(content, LIMITS).profile == profile
    assert not np.array_equal(decode(made.saved(PHOTO, "PNG", icc_profile=other), LIMITS), PHOTO), (
        "a gamma of 2.2 is not"
    )
    assert read_carried(PNG, LIMITS).profile is None


def test_grey_with_a_profile_is_converted_and_stays_neutral():
    ramp = np.tile(np.arange(256, dtype=np.uint8), (40, 1))
    pixels = decode(made.saved(ramp, "JPEG", quality=98, icc_profile=made.grey_gamma(1.0)), LIMITS)
    assert np.array_equal(pixels[..., 0], pixels[..., 2]) and 180 < int(pixels[0, 128, 0]) < 195
    plain = decode(made.saved(ramp, "PNG", icc_profile=srgb_profile()), LIMITS)
    assert np.array_equal(plain[..., 1], ramp)


def test_transparency_is_shown_on_white_after_colours_are_converted():
    alpha = np.full((*PHOTO.shape[:2], 1), 128, np.uint8)
    content = made.saved(np.dstack([made.converted(PHOTO, made.ADOBE_RGB), alpha]), "PNG", icc_profile=made.ADOBE_RGB)
    expected = PHOTO * (128 / 255) + 255 * (127 / 255)
    assert np.abs(decode(content, LIMITS) - expected).mean() < 1.5


UNUSABLE = {
    "noise": bytes(range(256)) * 3,
    "cut": made.ADOBE_RGB[:300],
    "of other channels": made.grey_gamma(2.2),
    "hardly any": b"icc",
}


@pytest.mark.parametrize("profile", UNUSABLE.values(), ids=UNUSABLE)
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_a_profile_that_cannot_be_used_is_a_note(tmp_path, profile, format):
    info, pixels = seen(tmp_path, made.saved(PHOTO, format, icc_profile=profile))
    assert codes(info) == ["profile_unusable"]
    assert np.array_equal(pixels, decode(made.saved(PHOTO, format), LIMITS))
    assert read_carried(made.saved(PHOTO, format, icc_profile=profile), LIMITS).profile is None


def test_exif_upright_drops_the_thumbnail_and_moves_nothing():
    thumbnail = made.saved(made.photograph(40, 40), "JPEG")
    content = made.block([made.turned(6), made.text(33432, "Copyright Muster")], thumbnail)
    found = exif.upright(content)
    block = exif.Block(found)
    assert block.first is not None and block.first.following == 0
    assert exif.orientation(block) == 1 and block.text(block.first.entries[33432]) == "Copyright Muster"
    assert thumbnail[:50] not in found and len(found) <= len(content) - len(thumbnail)


def test_png_chunks_are_bounded():
    assert png.unpacked(zlib.compress(b"a" * 50_000_000), 1000) is None
    assert png.unpacked(zlib.compress(b"abc"), 1000) == b"abc"
