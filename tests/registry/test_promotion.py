"""Registering, promoting and rolling back, on a real MLflow and ledger; only the scoring of pictures is cut short."""

from __future__ import annotations

import json
import math
import sqlite3
from dataclasses import replace
from typing import Any

import pytest
from mlflow.types import Schema
from skilled_models import Shop

from packshot.config import Gate
from packshot.home import Home
from packshot.registry import alias as alias_module
from packshot.registry import promote as promote_module
from packshot.registry.alias import RegistryBusy, adopt, exclusive, set_alias
from packshot.registry.alias_check import AliasMovedByHand, alias_version
from packshot.registry.gates import NO_DECLINE, EvidenceMismatch, GateSettingsError
from packshot.registry.history import print_history
from packshot.registry.ledger import Ledger
from packshot.registry.models import ArtefactsDamaged, NoSuchModel, bundle_path
from packshot.registry.promote import ChampionChanged, ChampionUnusable, PromotionResult, WrongData, assess, promote
from packshot.registry.register import NotEvaluated, find_version, register
from packshot.registry.rollback import NothingToRollBackTo, rollback
from packshot.registry.signature import signature
from packshot.registry.tracking import client
from packshot.revision import run_key


def go(shop: Shop, **named: int | None) -> PromotionResult:
    return promote(shop.settings, workspace=shop.workspace, **named)


def kinds(ledger: Ledger) -> list[str]:
    return [row["kind"] for row in ledger.history()]


class Killed(BaseException):
    """Stands for SIGKILL: no handler of the code under test may catch it."""


def test_a_run_key_registers_once_with_its_evidence(shop: Shop, ledger: Ledger) -> None:
    shop.bundle(0.9)
    with pytest.raises(NotEvaluated, match="packshot evaluate"):
        register(shop.settings, shop.workspace)
    shop.evaluate()
    first = register(shop.settings, shop.workspace)
    again = register(shop.settings, shop.workspace)
    assert (first.version, first.new, again.new) == (1, True, False)
    assert (again.version, again.run_id) == (first.version, first.run_id)
    assert find_version(shop.settings, run_key(shop.settings, shop.workspace)) == 1
    assert kinds(ledger) == ["register"]
    run = client(shop.settings).get_run(first.run_id)
    assert run.data.metrics["quality/srcc/shop"] == 0.8
    assert run.data.params["training.recipe"] == shop.settings.training.recipe
    files = {f.path for f in client(shop.settings).list_artifacts(first.run_id)}
    assert {"model_card.md", "evaluation"} <= files
    version = client(shop.settings).get_model_version("packshot", "1")
    assert version.tags["packshot.source"] == "own" and version.tags["packshot.figure/quality/srcc/shop"] == "0.8000"
    assert "0.800" in version.description and "CC0" in version.description
    accept_at = shop.settings.scoring.accept_at
    assert f"accepted from {accept_at:.2f}" in version.description and "fallback" in version.description


def test_figures_of_another_bundle_are_not_registered(shop: Shop) -> None:
    shop.bundle(0.9)
    shop.evaluate()
    shop.bundle(0.8)
    with pytest.raises(NotEvaluated, match="evaluate` again"):
        register(shop.settings, shop.workspace)


def test_first_promoted_worse_refused_better_promoted(shop: Shop, ledger: Ledger) -> None:
    assert (shop.register(0.85), shop.register(0.7), shop.register(0.95)) == (1, 2, 3)
    first = go(shop, challenger=1)
    assert first.outcome == "promoted" and alias_version(shop.settings, "champion") == 1
    worse = go(shop, challenger=2)
    assert worse.outcome == "refused" and alias_version(shop.settings, "champion") == 1
    assert "worse than the champion" in worse.reason
    assert alias_version(shop.settings, "challenger") == 3, "another one challenges since"
    better = go(shop)
    assert (better.outcome, better.challenger, better.champion, better.heldout_use) == ("promoted", 3, 1, 3)
    assert go(shop).outcome == "nothing_to_do"
    moves = [k for k in kinds(ledger) if k != "register"]
    assert moves == [
        *("heldout_use", "gate", "intent", "moved", "committed"),
        *("heldout_use", "gate", "refused"),
        *("heldout_use", "gate", "intent", "moved", "committed"),
    ]
    run_id = client(shop.settings).get_model_version("packshot", "2").run_id
    names = {f.path for f in client(shop.settings).list_artifacts(run_id, "gates/champion-1")}
    assert names == {f"gates/champion-1/gates.{kind}" for kind in ("json", "md", "png")}
    json.dumps(better.as_record(), allow_nan=False)


def test_a_refused_version_is_no_challenger_any_more_and_one_that_lacks_evidence_is(shop: Shop, ledger: Ledger) -> None:
    shop.register(0.85)
    go(shop)
    shop.register(0.7)
    many = [gate.model_copy(update={"min_groups": 10**6}) for gate in shop.settings.registry.gates[:1]]
    registry = shop.settings.registry.model_copy(update={"gates": tuple(many)})
    few = replace(shop, settings=shop.settings.model_copy(update={"registry": registry}))
    assert go(few).outcome == "not_enough_evidence" and alias_version(shop.settings, "challenger") == 2
    asked = assess(shop.settings, workspace=shop.workspace)
    assert asked.outcome == "refused" and alias_version(shop.settings, "challenger") is None
    with pytest.raises(NoSuchModel, match="packshot register"):
        go(shop)
    assert go(shop, challenger=2).outcome == "refused", "it can be asked for by number"


def test_assess_decides_and_moves_nothing(shop: Shop, ledger: Ledger) -> None:
    shop.register(0.9)
    assert assess(shop.settings, workspace=shop.workspace).outcome == "promoted"
    assert alias_version(shop.settings, "champion") is None
    assert kinds(ledger)[-1] == "gate"


def _kill_at(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    if place == "before the alias":
        monkeypatch.setattr(alias_module, "set_alias", _killed)
        return
    record = Ledger.record
    last = {"before moved is written": "moved", "before committed is written": "committed"}[place]

    def dies(self: Ledger, kind: str, **fields: Any) -> int:
        if kind.endswith(last):
            raise Killed
        return record(self, kind, **fields)

    monkeypatch.setattr(Ledger, "record", dies)


def _killed(*_: object) -> None:
    raise Killed


@pytest.mark.parametrize("place", ["before the alias", "before moved is written", "before committed is written"])
def test_a_kill_anywhere_in_a_promotion_is_finished_by_the_next_call(shop: Shop, ledger: Ledger, place: str) -> None:
    shop.register(0.8)
    go(shop)
    shop.register(0.95)
    with pytest.MonkeyPatch.context() as patch:
        _kill_at(patch, place)
        with pytest.raises(Killed):
            go(shop)
    assert ledger.state("packshot").pending is not None
    result = go(shop)
    assert (result.outcome, result.challenger, result.champion) == ("promoted", 2, 1)
    assert {gate.verdict for gate in result.gates} == {"pass"}
    assert alias_version(shop.settings, "champion") == 2 and ledger.state("packshot").champions == [1, 2]
    assert kinds(ledger).count("committed") == 2 and kinds(ledger).count("moved") == 2
    assert go(shop).outcome == "nothing_to_do"


def test_a_kill_in_a_rollback_is_finished_too(shop: Shop, ledger: Ledger) -> None:
    shop.register(0.8)
    go(shop)
    shop.register(0.95)
    go(shop)
    with pytest.MonkeyPatch.context() as patch:
        _kill_at(patch, "before the alias")
        with pytest.raises(Killed):
            rollback(shop.settings)
    assert go(shop).outcome == "refused", "the version that was rolled back does not return by itself"
    assert alias_version(shop.settings, "champion") == 1
    assert kinds(ledger).count("rollback_committed") == 1


def test_an_alias_moved_by_hand_is_reported_and_left_alone(shop: Shop, ledger: Ledger) -> None:
    shop.register(0.8)
    go(shop)
    shop.register(0.95)
    set_alias(shop.settings, "champion", 2)
    for action in (lambda: go(shop, challenger=2), lambda: rollback(shop.settings)):
        with pytest.raises(AliasMovedByHand, match="packshot registry adopt") as error:
            action()
        assert error.value.exit_code == 75
    assert alias_version(shop.settings, "champion") == 2
    assert adopt(shop.settings) == 2
    assert kinds(ledger)[-1] == "adopted"
    written = len(ledger.history())
    assert adopt(shop.settings) == 2 and len(ledger.history()) == written
    assert rollback(shop.settings).to_version == 1


def test_an_alias_set_by_hand_during_an_interrupted_move_is_not_overwritten(shop: Shop) -> None:
    for skill in (0.8, 0.95, 0.9):
        shop.register(skill)
    go(shop, challenger=1)
    with pytest.MonkeyPatch.context() as patch:
        _kill_at(patch, "before the alias")
        with pytest.raises(Killed):
            go(shop, challenger=2)
    set_alias(shop.settings, "champion", 3)
    with pytest.raises(AliasMovedByHand, match="interrupted"):
        go(shop, challenger=2)
    assert adopt(shop.settings) == 3
    assert go(shop, challenger=2).outcome == "promoted"


def test_rollback_goes_back_and_not_forth(shop: Shop, ledger: Ledger) -> None:
    for skill in (0.8, 0.88, 0.96):
        shop.register(skill)
        assert go(shop).outcome == "promoted"
    assert rollback(shop.settings).to_version == 2
    assert rollback(shop.settings).to_version == 1
    with pytest.raises(NothingToRollBackTo, match="no champion before 1"):
        rollback(shop.settings)
    assert rollback(shop.settings, to=3).to_version == 3
    assert alias_version(shop.settings, "champion") == 3
    shop.register(0.99)
    with pytest.raises(NothingToRollBackTo, match="never was champion"):
        rollback(shop.settings, to=4)
    again = len(ledger.history())
    assert rollback(shop.settings, to=3).from_version == 3 and len(ledger.history()) == again


def test_a_rolled_back_version_does_not_come_back_through_the_gates(shop: Shop) -> None:
    shop.register(0.8)
    go(shop)
    shop.register(0.95)
    go(shop)
    rollback(shop.settings)
    assert go(shop).outcome == "refused"
    rollback(shop.settings, to=2)
    assert go(shop, challenger=2).outcome == "nothing_to_do"


def test_versions_are_named_before_anything_is_read(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    for skill in (0.8, 0.95):
        shop.register(skill)
    go(shop, challenger=1)
    with pytest.raises(ChampionChanged, match="champion of packshot is 1"):
        go(shop, challenger=2, champion=7)
    from packshot.registry import promote as module

    honest = module._evidence
    swap = {1: 2, 2: 1}
    monkeypatch.setattr(
        module, "_evidence", lambda s, entry, w, f: honest(s, module.recorded(s, swap[entry.version]), w, f)
    )
    with pytest.raises(EvidenceMismatch):
        go(shop, challenger=2)
    assert alias_version(shop.settings, "champion") == 1


def test_other_data_than_the_challengers_is_refused(shop: Shop) -> None:
    import pandas as pd

    shop.register(0.9)
    manifest = shop.workspace / "data/splits/manifest.parquet"
    pd.read_parquet(manifest).iloc[:100].to_parquet(manifest)
    with pytest.raises(WrongData, match="data revision"):
        go(shop)


def test_a_model_that_does_not_load_is_refused(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    from packshot.registry.serving_check import ModelDoesNotServe

    def broken(*_: object) -> dict[str, float]:
        raise ModelDoesNotServe("no module named packshot")

    shop.register(0.9)
    monkeypatch.setattr("packshot.registry.promote.measure", broken)
    result = go(shop)
    assert result.outcome == "refused" and "no module named packshot" in result.reason


def test_other_columns_than_the_champions_and_unknown_origin_are_refused(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = [Gate(metric=name, kind="floor", value=1) for name in ("serving/signature_kept", "lineage/known")]
    registry = shop.settings.registry.model_copy(update={"gates": tuple(one)})
    strict = replace(shop, settings=shop.settings.model_copy(update={"registry": registry}))
    shop.register(0.5)
    assert go(strict).outcome == "promoted"
    shop.register(0.6)
    assert go(strict).outcome == "promoted", "it gives the same columns"
    narrower = signature()
    narrower.outputs = Schema(narrower.outputs.inputs[:-1])
    monkeypatch.setattr("packshot.registry.register.signature", lambda: narrower)
    third = shop.register(0.7)
    refused = go(strict)
    assert refused.outcome == "refused" and refused.reason == "serving/signature_kept = 0 is below 1"
    client(shop.settings).delete_model_version_tag("packshot", str(third), "packshot.code_rev")
    assert go(strict, challenger=third).reason == refused.reason, "a tag of MLflow that anybody can change says nothing"
    recorded = promote_module.recorded

    def of_unknown_origin(*given: Any) -> Any:
        entry = recorded(*given)
        return replace(entry, lineage=replace(entry.lineage, code_rev=None)) if entry.version == third else entry

    monkeypatch.setattr(promote_module, "recorded", of_unknown_origin)
    assert "lineage/known = 0 is below 1" in go(strict, challenger=third).reason


def test_a_champion_that_is_gone_is_named_with_the_ways_out(shop: Shop, home: Home) -> None:
    shop.register(0.8)
    go(shop)
    shop.register(0.95)
    (stored,) = [p for p in home.mlflow_artifacts.rglob("bundle.json") if "0.8" in p.read_text()]
    stored.unlink()
    for kept in home.models.rglob("bundle.json"):
        kept.unlink()
    with pytest.raises(ChampionUnusable, match="champion 1 cannot be scored"):
        go(shop)
    client(shop.settings).delete_registered_model_alias("packshot", "champion")
    assert adopt(shop.settings) is None
    assert go(shop).outcome == "promoted"


def test_bad_gates_stop_before_anything_is_scored(shop: Shop, ledger: Ledger) -> None:
    shop.register(0.9)
    gate = shop.settings.registry.gates[0].model_copy(update={"metric": "quality/spearman/shop"})
    registry = shop.settings.registry.model_copy(update={"gates": (gate,)})
    settings = shop.settings.model_copy(update={"registry": registry})
    with pytest.raises(GateSettingsError, match="quality/spearman/shop"):
        promote(settings, workspace=shop.workspace)
    assert kinds(ledger) == ["register"]


def test_artefacts_are_checked_each_time(shop: Shop, home: Home) -> None:
    with pytest.raises(NoSuchModel, match="packshot promote"):
        bundle_path(shop.settings, "champion")
    shop.register(0.9)
    folder, ref = bundle_path(shop.settings, "challenger")
    assert ref.model_version == 1 and ref.data_rev and json.loads((folder / "bundle.json").read_text())["skill"] == 0.9
    (folder / "bundle.json").write_text("spoilt")
    folder, _ = bundle_path(shop.settings, "1")
    assert json.loads((folder / "bundle.json").read_text())["skill"] == 0.9
    (folder / "bundle.json").unlink()
    stored = [p for p in home.mlflow_artifacts.rglob("bundle.json")]
    assert len(stored) == 1
    stored[0].write_text("changed after registration")
    with pytest.raises(ArtefactsDamaged, match="changed after registration"):
        bundle_path(shop.settings, "1")
    stored[0].unlink()
    with pytest.raises(ArtefactsDamaged):
        bundle_path(shop.settings, "1")
    for unknown in ("17", "nobody", "two words"):
        with pytest.raises(NoSuchModel):
            bundle_path(shop.settings, unknown)


def test_a_path_is_a_model_without_lineage(shop: Shop) -> None:
    folder, ref = bundle_path(shop.settings, str(shop.bundle(0.5)))
    assert ref.model_version is None and ref.data_rev is None and folder.name == "packshot"


def test_only_one_at_a_time(shop: Shop) -> None:
    with exclusive(), pytest.raises(RegistryBusy), exclusive(wait_s=0.2):
        pass


def test_history_can_be_read_by_people_and_scripts(shop: Shop, home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    shop.register(0.7)
    go(shop)
    print_history(shop.settings, as_json=True)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["kind"] for line in lines][:2] == ["register", "heldout_use"]
    print_history(shop.settings)
    assert "register" in capsys.readouterr().out
    with sqlite3.connect(home.ledger_db) as database:
        assert database.execute("SELECT count(*) FROM ledger").fetchone() == (len(lines),)


def test_of_two_machines_that_promote_at_once_one_wins(shop: Shop, ledger: Ledger) -> None:
    """Both have asked their gates, with champion 1, before either moves; the lock of one machine is not the other's."""
    shop.champions(0.8)
    second, third = shop.register(0.9), shop.register(0.95)
    alias_module.move(shop.settings, ledger, from_version=1, to_version=second, rollback=False, payload={})
    with pytest.raises(ChampionChanged, match="is version 2 now"):
        alias_module.move(shop.settings, ledger, from_version=1, to_version=third, rollback=False, payload={})
    assert ledger.state("packshot").champions == [1, 2] and alias_version(shop.settings, "champion") == 2


def test_a_move_that_is_open_elsewhere_is_waited_for(
    shop: Shop, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.champions(0.8)
    second, third = shop.register(0.9), shop.register(0.95)
    set_alias_for_real = alias_module.set_alias

    def meanwhile_elsewhere(*given: Any) -> None:
        monkeypatch.setattr(alias_module, "set_alias", set_alias_for_real)
        with pytest.raises(ChampionChanged, match="is open, begun elsewhere by tester"):
            alias_module.move(shop.settings, ledger, from_version=1, to_version=third, rollback=False, payload={})
        set_alias_for_real(*given)

    monkeypatch.setattr(alias_module, "set_alias", meanwhile_elsewhere)
    alias_module.move(shop.settings, ledger, from_version=1, to_version=second, rollback=False, payload={})
    assert ledger.state("packshot").champions == [1, 2] and alias_version(shop.settings, "champion") == 2


def test_a_slow_machine_whose_move_was_finished_elsewhere_takes_nothing_back(
    shop: Shop, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.champions(0.8)
    second, third = shop.register(0.9), shop.register(0.95)
    set_alias_for_real = alias_module.set_alias

    def after_a_long_sleep(*given: Any) -> None:
        monkeypatch.setattr(alias_module, "set_alias", set_alias_for_real)
        alias_module.heal(shop.settings, ledger)
        alias_module.move(shop.settings, ledger, from_version=2, to_version=third, rollback=False, payload={})
        set_alias_for_real(*given)

    monkeypatch.setattr(alias_module, "set_alias", after_a_long_sleep)
    with pytest.raises(ChampionChanged, match="version 3 champion since"):
        alias_module.move(shop.settings, ledger, from_version=1, to_version=second, rollback=False, payload={})
    assert ledger.state("packshot").champions == [1, 2, 3] and alias_version(shop.settings, "champion") == 3


def test_the_ledger_keeps_promotions_from_sliding(shop: Shop, ledger: Ledger, home: Home) -> None:
    gates = tuple(
        gate.model_copy(update={"margin": 0.045}) if gate.metric.startswith("quality") else gate
        for gate in shop.settings.registry.gates
        if not gate.metric.startswith("style")
    )
    settings = shop.settings.model_copy(update={"registry": shop.settings.registry.model_copy(update={"gates": gates})})
    sliding = replace(shop, settings=settings)
    for skill in (0.9, 0.85, 0.8):
        sliding.register(skill)
    first, second = (promote(settings, challenger=n, workspace=shop.workspace) for n in (1, 2))
    assert (first.outcome, second.outcome) == ("promoted", "promoted")
    third = promote(settings, challenger=3, workspace=shop.workspace)
    assert third.outcome == "refused" and "version 1, the best champion so far" in third.reason
    verdicts = {gate.kind: gate.verdict for gate in third.gates if gate.metric.startswith("quality")}
    assert verdicts["non_inferiority"] == "pass" and verdicts[NO_DECLINE] == "fail"
    assert any("2nd use of these rows: 98% confidence" in gate.message for gate in third.gates)
    assert f"since the best ≥ {-0.045:.4g}" in third.table()
    stored = ledger.state("packshot").gates[3].payload.gates
    assert any(gate["kind"] == NO_DECLINE and math.isfinite(gate["difference"]) for gate in stored)
    for file in [*home.mlflow_artifacts.rglob("bundle.json"), *(home.root / "models").rglob("bundle.json")]:
        if "0.9" in file.read_text():
            file.unlink()
    again = promote(settings, challenger=3, workspace=shop.workspace)
    assert again.outcome == "refused" and "cannot be scored any more" in again.reason
