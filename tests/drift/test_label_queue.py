"""What goes into the label queue: no near-duplicate, nothing twice, not too much of one sender."""

from __future__ import annotations

import numpy as np
import pandas as pd

from packshot.drift.queue import choose, typical_paths


def pictures(points: np.ndarray, senders: list[str | None], width: list[float]) -> pd.DataFrame:
    n = len(points)
    return pd.DataFrame(
        {
            "image_id": [f"id{i}" for i in range(n)],
            "path": [f"{i}.png" for i in range(n)],
            "sender": senders,
            "embedding": list(points),
            "quality_low": 0.0,
            "quality_high": width,
        }
    )


def test_the_copies_of_a_picture_are_chosen_once_and_the_farthest_comes_next() -> None:
    clusters = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 30.0], [50.0, 50.0]])
    points = np.repeat(clusters, 5, axis=0) + np.random.default_rng(0).normal(0, 0.01, (20, 2))
    frame = pictures(points, [None] * 20, [0.9] * 5 + [0.1] * 15)
    chosen = choose(frame, {"7.png": "brightness"}, 3, 20, ())
    assert [each.row // 5 for each in chosen] == [1, 0, 3], "typical, widest, furthest"
    assert chosen[0].row == 7 and "brightness" in chosen[0].why
    assert len(choose(frame, {"7.png": "brightness"}, 20, 20, ())) == 4, "one of each, however many are asked for"


def test_a_sender_has_no_more_than_its_share_those_queued_before_included() -> None:
    points = np.random.default_rng(1).normal(0, 1, (30, 8))
    frame = pictures(points, ["a"] * 20 + ["b"] * 10, list(np.linspace(0, 1, 30)))
    chosen = choose(frame, {}, 9, 3, {"id0", "id29"})
    rows = [each.row for each in chosen]
    assert not {0, 29} & set(rows) and len(rows) == len(set(rows))
    assert sum(row < 20 for row in rows) == sum(row >= 20 for row in rows) == 2


def test_each_figure_that_drifted_has_its_turn() -> None:
    drift = {
        "examples": ["a", "b"],
        "drifted": [{"name": "quality", "effect": -1.25, "examples": ["b", "c"]}],
    }
    assert list(typical_paths(drift)) == ["a", "b", "c"]
    assert typical_paths(drift)["b"] == "quality (-1.2)"
