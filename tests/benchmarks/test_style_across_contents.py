"""The benchmark of style across contents: which names are one object, and figures where the answer is known."""

import numpy as np
import pytest

from emoji_sets import EmojiSet, as_svg, rendered, shared_objects
from style_across_contents import centred, retrieval, weighted, whitened

OBJECTS, STYLES = 30, 4


def emoji_set(names: str, aliases: dict[str, str] | None = None, **more: object) -> EmojiSet:
    icons = {name: {"body": f"<title>{name}</title>"} for name in names.split()}
    return EmojiSet.read({"icons": icons, "aliases": {a: {"parent": b} for a, b in (aliases or {}).items()}, **more})


def pictures(content: float, style: float) -> np.ndarray:
    """Objects x styles x 16: each object and each style adds a direction of its own, of these strengths."""
    random = np.random.default_rng(0)
    objects = content * random.normal(size=(OBJECTS, 1, 8))
    styles = style * random.normal(size=(1, STYLES, 8))
    parts = [np.broadcast_to(part, (OBJECTS, STYLES, 8)) for part in (objects, styles)]
    return np.concatenate(parts, axis=2) + 0.01 * random.normal(size=(OBJECTS, STYLES, 16))


def test_names_that_one_set_takes_for_the_same_are_the_same_to_all():
    first = emoji_set("bear a-button", {"bear-face": "bear"})
    second = emoji_set("bear-face a-button")
    assert shared_objects([first, second]) == [("a-button", "a-button"), ("bear", "bear-face")]


def test_an_object_is_left_out_where_a_set_lacks_it_or_draws_it_twice():
    first = emoji_set("cricket grasshopper sun", {"locust": "cricket"})
    second = emoji_set("cricket moon sun", {"grasshopper": "cricket"})
    assert shared_objects([first, second]) == [("sun", "sun")]


def test_withdrawn_drawings_and_mirrored_names_do_not_count():
    icons = {"left": {"body": ""}, "old": {"body": "", "hidden": True}}
    found = EmojiSet.read({"icons": icons, "aliases": {"right": {"parent": "left", "hFlip": True}}})
    assert list(found.drawings) == ["left"]
    assert not found.aliases


def test_a_drawing_stands_in_the_middle_of_a_white_square():
    icons = {"bar": {"body": '<rect width="4" height="8"/>', "width": 4}}
    image = rendered(as_svg(EmojiSet.read({"icons": icons, "height": 8}).drawings["bar"]), 32)
    assert image.shape == (32, 32, 3)
    dark = image[16, :, 0] < 128
    assert np.flatnonzero(dark).tolist() == list(range(8, 24))


def test_style_comes_first_where_the_points_show_style_alone():
    found = retrieval(pictures(0.0, 1.0))
    assert vars(found) == pytest.approx(
        {"style_first": 1, "nearest_first": 1, "style_found": 1, "content_found": found.content_found}
    )
    assert found.content_found < 0.3


def test_content_comes_first_where_the_points_show_content_alone():
    found = retrieval(pictures(1.0, 0.0))
    assert (found.style_first, found.content_found) == pytest.approx((0, 1), abs=0.01)


def test_queries_of_one_style_are_asked_alone():
    points = pictures(1.0, 0.0)
    points[:, 2] = [5.0, *[0.0] * 15]
    assert retrieval(points, [2]).style_first == 1
    assert retrieval(points, [0]).nearest_first == 0


@pytest.mark.parametrize("space", [whitened, weighted])
def test_taking_content_back_lets_style_come_first(space):
    points = pictures(1.0, 0.5)
    rows, styles = points[:20].reshape(-1, 16), np.tile(np.arange(STYLES), 20)
    before, after = (
        retrieval(make(rows, styles)(points[20:].reshape(-1, 16)).reshape(10, STYLES, -1)) for make in (centred, space)
    )
    assert after.style_first > before.style_first + 0.2
