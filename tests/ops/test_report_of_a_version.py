"""The report shows what is on record of the model that gave the verdicts, whoever is champion."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sample_verdicts import verdict, write_verdicts
from skilled_models import Shop

from packshot.ops.reporting import write_report
from packshot.registry.ledger import Ledger
from packshot.registry.models import recorded
from packshot.registry.promote import promote


def report(shop: Shop, tmp_path: Path, version: int | None, run_id: str | None) -> tuple[str, dict[str, float]]:
    folder = tmp_path / f"verdicts-{version}"
    write_verdicts(folder, [verdict("a.jpg"), verdict("b.jpg")], version=version, run_id=run_id)
    written = write_report(shop.settings, out=tmp_path / "report", folders=[folder])
    return Path(written["report"]).read_text(), json.loads(Path(written["metrics"]).read_text())


def test_the_gates_are_those_of_the_version_that_gave_the_verdicts(shop: Shop, ledger: Ledger, tmp_path: Path) -> None:
    for skill in (0.85, 0.7):
        shop.register(skill)
    assert promote(shop.settings, challenger=1, workspace=shop.workspace).outcome == "promoted"
    assert promote(shop.settings, challenger=2, workspace=shop.workspace).outcome == "refused"
    refused, figures = report(shop, tmp_path, 2, recorded(shop.settings, 2).lineage.run_id)
    assert "Version 2 against version 1: <strong>refused</strong>" in refused
    [floor] = [gate for gate in ledger.state("packshot").gates[2].payload.gates if gate["kind"] == "floor"]
    assert figures["quality/srcc/shop"] == floor["challenger"]
    of_champion, other = report(shop, tmp_path, 1, recorded(shop.settings, 1).lineage.run_id)
    assert "Version 1 against no champion: <strong>promoted</strong>" in of_champion
    assert other["quality/srcc/shop"] > figures["quality/srcc/shop"]


@pytest.mark.parametrize(("version", "run_id"), [(1, "of another registry"), (7, "r"), (None, None)])
def test_without_a_champion_or_a_record_the_report_says_that_no_gates_are_known(
    shop: Shop, tmp_path: Path, version: int | None, run_id: str | None
) -> None:
    shop.register(0.85)
    page, figures = report(shop, tmp_path, version, run_id)
    assert "None are on record of the model that gave these verdicts" in page and figures == {}
