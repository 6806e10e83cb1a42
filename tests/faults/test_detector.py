"""Faults in signal statistics, against clean pictures: here each fault moves one number."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from packshot.faults.detector import COLOURLESS, FAULTS, Detector, FaultsUnreadable, read_detector, write_detector
from packshot.faults.kinds import KINDS, NAMES
from packshot.model.signal_layout import SIGNAL_SIZE
from packshot.training.faults import STRONGEST_CHROMA, Learned, Lessons, learn_faults

MOVED = 8.0


def pictures(count: int, seed: int, share_faulty: float) -> tuple[np.ndarray, np.ndarray]:
    """Signals, of which the first seven numbers tell of the faults by how strong they are, and the strengths."""
    generator = np.random.default_rng(seed)
    signal = generator.normal(0, 1, (count, SIGNAL_SIZE))
    signal[:, STRONGEST_CHROMA] = 0.5
    there = generator.random((count, len(NAMES))) < share_faulty
    strengths = np.where(there, np.exp(generator.uniform(0, 2, there.shape)), 0)
    signal[:, : len(NAMES)] += np.where(there, MOVED * np.log(np.maximum(strengths, 1)) / 2 + MOVED / 2, 0)
    return signal, strengths


def lessons(clean: int = 400, faulty: int = 600) -> Lessons:
    as_made, nothing = pictures(clean, 1, 0.0)
    planted, strengths = pictures(faulty, 2, 0.2)
    return Lessons(
        np.concatenate([planted, as_made]),
        np.concatenate([strengths, nothing]),
        np.array([f"g{place % 40}" for place in range(clean + faulty)]),
        np.arange(clean + faulty) >= faulty,
    )


@cache
def learned() -> Learned:
    found = learn_faults(lessons(), seed=3)
    assert isinstance(found, Learned)
    return found


def detector() -> Detector:
    return learned().detector


@pytest.mark.parametrize("false_alarms", [0.02, 0.05, 0.2])
def test_as_many_clean_pictures_are_called_faulty_as_may_be(false_alarms: float) -> None:
    signal, _ = pictures(2000, 5, 0.0)
    named = [any(one.present(false_alarms) for one in found) for found in detector().find(signal)]
    assert np.mean(named) == pytest.approx(false_alarms, abs=0.015 + false_alarms / 4)


def test_several_faults_of_one_picture_are_all_found() -> None:
    signal, strengths = pictures(200, 6, 0.3)
    there = strengths > 0
    found = detector().find(signal)
    named = np.array([[one.present(0.05) for one in each] for each in found])
    assert (there.sum(axis=1) > 1).any()
    assert named[there].mean() > 0.9
    assert named[~there].mean() < 0.03
    probability = np.array([[one.probability for one in each] for each in found])
    assert probability[there].mean() > 0.9 > 0.1 > probability[~there].mean()


def test_strength_is_in_the_unit_that_was_learned() -> None:
    signal, strengths = pictures(300, 7, 0.2)
    told = np.array([[one.strength for one in each] for each in detector().find(signal)])
    there = strengths > 0
    logs = np.log(told), np.log(np.maximum(strengths, 1e-9))
    for at in range(len(NAMES)):
        mine = there[:, at]
        assert np.corrcoef(logs[0][mine, at], logs[1][mine, at])[0, 1] > 0.5
    assert np.abs(logs[0][there] - logs[1][there]).mean() < 0.5


def test_what_has_no_colour_has_no_cast() -> None:
    signal, _ = pictures(50, 8, 0.0)
    cast = NAMES.index("cast")
    signal[:, cast] += 3 * MOVED
    assert all(found[cast].present(0.05) for found in detector().find(signal))
    signal[:, STRONGEST_CHROMA] = COLOURLESS / 2
    grey = detector().find(signal)
    assert not any(found[cast].present(0.9) for found in grey)
    assert max(found[cast].probability for found in grey) < 1e-6


def test_nothing_is_named_where_no_false_alarm_is_allowed() -> None:
    signal, _ = pictures(100, 9, 0.5)
    assert not any(one.present(0.0) for found in detector().find(signal) for one in found)


def test_a_group_is_scored_by_a_machine_that_has_not_seen_it() -> None:
    """Each clean picture is a twin of a planted one in its own group: whoever learned from that one would know it."""
    signal, strengths = pictures(300, 11, 0.2)
    twins = Lessons(
        np.concatenate([signal, signal]),
        np.concatenate([strengths, np.zeros_like(strengths)]),
        np.array([f"g{place % 300 // 5}" for place in range(600)]),
        np.arange(600) >= 300,
    )
    found = learn_faults(twins, seed=3)
    assert isinstance(found, Learned)
    assert max(found.recall.values()) < 0.75


@pytest.mark.parametrize(
    ("clean", "faulty", "why"), [(39, 600, "39 clean pictures"), (400, 30, "fewer than 20 copies")]
)
def test_too_little_to_learn_from_is_said(clean: int, faulty: int, why: str) -> None:
    found = learn_faults(lessons(clean, faulty), seed=3)
    assert isinstance(found, str)
    assert why in found


def test_the_same_lessons_teach_the_same(tmp_path: Path) -> None:
    again = learn_faults(lessons(), seed=3)
    assert isinstance(again, Learned)
    for name, one in (("a", detector()), ("b", again.detector)):
        (tmp_path / name).mkdir()
        write_detector(tmp_path / name, one)
    assert (tmp_path / "a" / FAULTS).read_bytes() == (tmp_path / "b" / FAULTS).read_bytes()


def test_a_detector_comes_back_from_its_file(tmp_path: Path) -> None:
    assert read_detector(tmp_path) is None
    write_detector(tmp_path, detector())
    signal, _ = pictures(50, 10, 0.3)
    read = read_detector(tmp_path)
    assert read is not None
    for before, after in zip(detector().find(signal), read.find(signal), strict=True):
        for one, other in zip(before, after, strict=True):
            assert one.probability == pytest.approx(other.probability, abs=1e-4)
            assert one.strength == pytest.approx(other.strength, rel=1e-3)
            assert one.alarm == pytest.approx(other.alarm, abs=0.01)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    write_detector(tmp_path, detector())
    (tmp_path / FAULTS).write_bytes((tmp_path / FAULTS).read_bytes()[:-100])
    with pytest.raises(FaultsUnreadable, match=FAULTS):
        read_detector(tmp_path)
    write_detector(tmp_path, replace(detector(), slope=np.full(len(NAMES), np.nan)))
    with pytest.raises(FaultsUnreadable, match="not finite"):
        read_detector(tmp_path)


def test_strong_is_to_the_worse_side() -> None:
    assert KINDS["blur"].is_strong(3.0) and not KINDS["blur"].is_strong(0.5)
    assert KINDS["compression"].is_strong(10) and not KINDS["compression"].is_strong(60)
