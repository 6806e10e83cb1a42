"""Files from outside are decoded by worker processes alone."""

from __future__ import annotations

import ast
from functools import cache

from packshot.catalog import image
from packshot.home import project_root

SOURCES = project_root() / "src/packshot"
DECODING = "catalog/decoding"
DECODERS = {"catalog/containers", "catalog/image.py"}
"""Run in workers."""
OWN_BYTES = {
    "catalog/same_picture.py": "thumbnails that Packshot has encoded and keeps",
    "degrade/catalogue.py": "what it has encoded itself the line before",
    "degrade/everyday.py": "the same",
    "training/overlays.py": "the same",
}
CALLS = {"imdecode", "imread", "imreadmulti", "decode_jpeg", "svg_to_bytes", "decode_image", "read_image"}
READERS = {name for name in image.__all__ if name.startswith(("read_", "decode", "inspect", "probe"))}


def below(name: str, places: set[str]) -> bool:
    return any(name == place or name.startswith(f"{place}/") for place in places)


@cache
def modules() -> list[tuple[str, ast.Module]]:
    paths = sorted(SOURCES.rglob("*.py"))
    return [(path.relative_to(SOURCES).as_posix(), ast.parse(path.read_text(encoding="utf-8"))) for path in paths]


def decodes(tree: ast.Module) -> list[str]:
    """The calls of decoders in a module."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            of_pillow = node.attr == "open" and isinstance(node.value, ast.Name) and node.value.id.endswith("Image")
            if node.attr in CALLS or of_pillow:
                found.append(ast.unparse(node))
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith(("PIL.Image", "cv2", "simplejpeg")):
            found += [each.name for each in node.names if each.name in CALLS | {"open"}]
    return found


def readers_in_process(tree: ast.Module) -> list[str]:
    """What a module takes of the readers that decode where they are called."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "packshot.catalog.image":
            found += [each.name for each in node.names if each.name in READERS]
        if isinstance(node, ast.ImportFrom) and node.module == "packshot.catalog":
            found += [each.name for each in node.names if each.name == "image"]
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("packshot.catalog.containers."):
            found += [each.name for each in node.names if each.name in READERS | {"read", "drawn"}]
        if isinstance(node, ast.Import):
            found += [each.name for each in node.names if each.name == "packshot.catalog.image"]
    return found


def test_no_module_decodes_beside_those_that_run_in_workers() -> None:
    found = {name: said for name, tree in modules() if (said := decodes(tree))}
    assert {name for name in found if not below(name, DECODERS)} == set(OWN_BYTES), found


def test_no_module_calls_their_readers_but_the_pool() -> None:
    found = {name: said for name, tree in modules() if (said := readers_in_process(tree))}
    assert {name for name in found if not below(name, DECODERS | {DECODING})} == set(), found


def test_it_is_seen_where_a_module_decodes() -> None:
    for line in ("Image.open(path)", "PilImage.open(x)", "cv2.imread(p)", "from cv2 import imdecode"):
        assert decodes(ast.parse(line)), line
    for line in ("from packshot.catalog.image import decode", "from packshot.catalog import image"):
        assert readers_in_process(ast.parse(line)), line
    assert not decodes(ast.parse("path.open()"))
