"""Shops' scales on record: what decides is what the ledger entered for the bytes of a model, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from packshot.home import Home
from packshot.registry.ledger import Ledger
from packshot.registry.shop_scales import (
    FORMAT_VERSION,
    NoScale,
    ScaleDamaged,
    ScaleOutdated,
    ScaleRecord,
    in_force,
    left_behind,
    put_in_force,
    refuse,
    withdraw,
)

MODEL, OTHER = "a" * 64, "b" * 64


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    monkeypatch.setenv("PACKSHOT_HOME", str(tmp_path))
    monkeypatch.delenv("PACKSHOT_LEDGER_URL", raising=False)
    return Ledger.from_environment()


def record(height: float = -0.1, labels: str = "c" * 64) -> ScaleRecord:
    return ScaleRecord(
        format_version=FORMAT_VERSION,
        bundle_sha256=MODEL,
        labels_sha256=labels,
        labels=60,
        good_from=0.5,
        coverage=0.9,
        fitted_at="2026-05-01T00:00:00+00:00",
        fitted_by="ann",
        centre=0.6,
        height=height,
        slope=0.8,
        size=0.1,
        half_width=0.17,
        accepted_faults=("dark",),
    )


def test_a_scale_decides_for_its_own_model_until_it_is_withdrawn(ledger: Ledger) -> None:
    assert in_force(MODEL, "packshot", 0.5, ledger) is None
    name = put_in_force(record(), {"labels": 60}, "packshot", 1, ledger)
    found = in_force(MODEL, "packshot", 0.5, ledger)
    assert found is not None and (found.id, found.line, found.accepted_faults) == (name, record().line(), ("dark",))
    assert in_force(OTHER, "packshot", 0.5, ledger) is None, "a new champion starts without"
    assert withdraw(MODEL, "packshot", ledger) == name
    assert in_force(MODEL, "packshot", 0.5, ledger) is None
    with pytest.raises(NoScale):
        withdraw(MODEL, "packshot", ledger)


def test_a_newer_scale_takes_the_place_of_an_older_one(ledger: Ledger) -> None:
    first = put_in_force(record(), {}, "packshot", 1, ledger)
    second = put_in_force(record(height=0.1), {}, "packshot", 1, ledger)
    found = in_force(MODEL, "packshot", 0.5, ledger)
    assert found is not None and found.id == second != first


@pytest.mark.parametrize("damage", ["gone", "changed", "no json"])
def test_a_file_that_is_not_what_the_ledger_entered_scores_nothing(ledger: Ledger, damage: str) -> None:
    name = put_in_force(record(), {}, "packshot", 1, ledger)
    file = Home.from_environment().scales / f"{name}.json"
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(record(height=0.2).content() if damage == "changed" else b"{")
    with pytest.raises(ScaleDamaged, match="--withdraw"):
        in_force(MODEL, "packshot", 0.5, ledger)


def test_another_bound_between_fit_and_unfit_needs_another_fit(ledger: Ledger) -> None:
    put_in_force(record(), {}, "packshot", 1, ledger)
    with pytest.raises(ScaleOutdated, match=r"good_from 0.5, and it is 0.6 now"):
        in_force(MODEL, "packshot", 0.6, ledger)


def test_a_refusal_is_entered_once_and_leaves_what_decides(ledger: Ledger) -> None:
    name = put_in_force(record(), {}, "packshot", 1, ledger)
    worse = record(height=0.3, labels="d" * 64)
    for _ in range(2):
        refuse(worse, {}, ["100 decisions cost 80.0 with it, 70.0 without"], "packshot", 1, ledger)
    said = ledger.history("packshot", "shop_scale")
    assert [entry["payload"]["state"] for entry in said] == ["in_force", "refused"]
    assert "80.0 with it" in said[1]["payload"]["note"]
    found = in_force(MODEL, "packshot", 0.5, ledger)
    assert found is not None and found.id == name
    assert ledger.breaks() == []


def test_a_promotion_says_that_the_scale_of_the_champion_before_is_left_behind(ledger: Ledger) -> None:
    for version, digest in ((1, MODEL), (2, OTHER)):
        ledger.record("register", model_name="packshot", to_version=version, payload={"bundle_sha256": digest})
    assert left_behind(ledger.state("packshot"), 1, 2) is None
    put_in_force(record(), {}, "packshot", 1, ledger)
    assert "version 1 was fitted to its errors" in (left_behind(ledger.state("packshot"), 1, 2) or "")
    assert (
        left_behind(ledger.state("packshot"), 2, 1) is None and left_behind(ledger.state("packshot"), None, 1) is None
    )
