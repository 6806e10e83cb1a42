"""What scores and what runs is what the ledger says: no alias, no tag and no file that MLflow keeps decides."""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from skilled_models import Shop

from packshot.config import Settings
from packshot.home import Home
from packshot.registry import register as register_module
from packshot.registry.alias import adopt, set_alias
from packshot.registry.alias_check import AliasMovedByHand, AliasUnknown, alias_version
from packshot.registry.ledger import Ledger, LedgerForged
from packshot.registry.models import (
    DIGEST_TAG,
    ArtefactsDamaged,
    NoSuchModel,
    bundle_path,
    logged_digests,
    model_path,
    recorded,
)
from packshot.registry.promote import promote
from packshot.registry.register import register
from packshot.registry.rollback import rollback
from packshot.registry.serving_check import measure
from packshot.registry.tracking import TrackingUnreachable, client


def checked(settings: Settings, how: str) -> Settings:
    return settings.model_copy(update={"registry": settings.registry.model_copy(update={"alias_check": how})})


def skill_of(folder: Path) -> float:
    return float(json.loads((folder / "bundle.json").read_text())["skill"])


def test_an_alias_that_was_moved_by_hand_scores_nothing(shop: Shop) -> None:
    shop.champions(0.9)
    refused = shop.register(0.1)
    set_alias(shop.settings, "champion", refused)
    with pytest.raises(AliasMovedByHand, match=r"points at version 2.*last word is version 1.*registry adopt") as error:
        bundle_path(shop.settings, "champion")
    assert error.value.exit_code == 75
    by_ledger, lineage = bundle_path(checked(shop.settings, "ledger_only"), "champion")
    assert skill_of(by_ledger) == 0.9 and lineage.model_version == 1
    set_alias(shop.settings, "champion", 1)
    assert bundle_path(shop.settings, "champion")[0] == by_ledger


def test_an_alias_that_was_taken_away_or_put_where_none_was_scores_nothing(shop: Shop) -> None:
    shop.register(0.9)
    set_alias(shop.settings, "champion", 1)
    with pytest.raises(AliasMovedByHand, match="last word is no version"):
        bundle_path(shop.settings, "champion")
    assert adopt(shop.settings) == 1
    client(shop.settings).delete_registered_model_alias("packshot", "champion")
    with pytest.raises(AliasMovedByHand, match="points at no version"):
        bundle_path(shop.settings, "champion")


def test_the_home_alone_scores_without_mlflow(shop: Shop, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.champions(0.9)
    for name in [name for name in sys.modules if name.split(".")[0] == "mlflow"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mlflow", None)
    folder, lineage = bundle_path(shop.settings, "champion")
    assert skill_of(folder) == 0.9 and folder.is_relative_to(home.models)
    assert lineage.run_id and lineage.data_rev and lineage.code_rev and lineage.params_hash
    home.mlflow_db.unlink()
    assert bundle_path(checked(shop.settings, "ledger_only"), "champion")[0] == folder


def test_mlflow_that_does_not_answer_is_no_yes(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.champions(0.9)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(AliasUnknown, match="ledger_only") as error:
        bundle_path(shop.settings, "champion")
    assert error.value.exit_code == 75
    assert skill_of(bundle_path(checked(shop.settings, "ledger_only"), "champion")[0]) == 0.9


def test_a_version_that_only_mlflow_knows_is_never_used(shop: Shop) -> None:
    shop.champions(0.9)
    mlflow_client = client(shop.settings)
    known = mlflow_client.get_model_version("packshot", "1")
    forged = mlflow_client.create_model_version("packshot", known.source, known.run_id, tags=dict(known.tags))
    number = int(forged.version)
    for use in (
        lambda: bundle_path(shop.settings, str(number)),
        lambda: model_path(shop.settings, number),
        lambda: promote(shop.settings, challenger=number, workspace=shop.workspace),
    ):
        with pytest.raises(NoSuchModel, match="no version 2 in the ledger"):
            use()
    set_alias(shop.settings, "champion", number)
    with pytest.raises(NoSuchModel, match="no version 2 in the ledger"):
        adopt(shop.settings)


def stored(home: Home, name: str) -> Path:
    return next(path for path in home.mlflow_artifacts.rglob(name) if "code" not in path.parts)


def test_a_tag_of_mlflow_does_not_say_what_was_registered(shop: Shop, home: Home) -> None:
    shop.register(0.9)
    stored(home, "bundle.json").write_text(json.dumps({"skill": 1.0}))
    client(shop.settings).set_model_version_tag("packshot", "1", DIGEST_TAG, logged_digests(shop.settings, 1)[0])
    with pytest.raises(ArtefactsDamaged, match="changed after registration"):
        bundle_path(shop.settings, "1")


def test_no_line_of_changed_code_is_run(shop: Shop, home: Home, tmp_path: Path) -> None:
    shop.register(0.9)
    ran = tmp_path / "ran"
    (code,) = [path for path in home.mlflow_artifacts.rglob("packshot/__init__.py") if "code" in path.parts]
    code.write_text(f"open({str(ran)!r}, 'w').close()\n")
    with pytest.raises(ArtefactsDamaged, match="logged model of version 1 of packshot has checksum"):
        measure(shop.settings, 1)
    assert not ran.exists()


def test_code_that_was_changed_in_the_home_is_fetched_anew(shop: Shop, home: Home) -> None:
    shop.register(0.9)
    (kept,) = model_path(shop.settings, 1).rglob("packshot/__init__.py")
    honest = kept.read_bytes()
    kept.write_text("raise SystemExit('changed')\n")
    (again,) = model_path(shop.settings, 1).rglob("packshot/__init__.py")
    assert again.read_bytes() == honest


def test_what_was_rolled_back_does_not_come_back_under_another_number(shop: Shop, ledger: Ledger) -> None:
    shop.champions(0.8, 0.9)
    rollback(shop.settings)
    shop.bundle(0.9)
    shop.evaluate()
    again = register(shop.settings, shop.workspace)
    assert again.version == 3 and recorded(shop.settings, 3).bundle_sha256 == recorded(shop.settings, 2).bundle_sha256
    result = promote(shop.settings, challenger=3, workspace=shop.workspace)
    assert result.outcome == "refused" and "version 3 is the bundle of version 2, which was" in result.reason
    assert ledger.state("packshot").champion == 1


def test_the_code_of_an_older_entry_is_not_run_until_it_is_on_record(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as older:
        older.setattr("packshot.registry.models.logged_digests", lambda *of: (logged_digests(*of)[0], None))
        shop.register(0.9)
    assert skill_of(bundle_path(shop.settings, "1")[0]) == 0.9
    with pytest.raises(ArtefactsDamaged, match="`packshot register` in its workspace"):
        model_path(shop.settings, 1)
    assert shop.register(0.9) == 1
    assert skill_of(bundle_path(shop.settings, "1")[0]) == 0.9
    assert (model_path(shop.settings, 1) / "MLmodel").is_file()


def test_a_bundle_that_mlflow_keeps_otherwise_is_not_registered(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    assert register_module.register is register
    monkeypatch.setattr("packshot.registry.models.logged_digests", lambda *of: ("0" * 64, "1" * 64))
    with pytest.raises(ArtefactsDamaged, match="another bundle"):
        shop.register(0.9)
    assert Ledger.from_environment().state("packshot").registered == {}


class Server(ThreadingHTTPServer):
    """An MLflow server that knows one alias, and asks for a login."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.asked: list[tuple[str, str | None]] = []


class Answer(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Authorization")))
        if self.headers.get("Authorization") is None:
            status, told = 401, {}
        elif "alias=champion" in self.path:
            status, told = 200, {"model_version": {"name": "packshot", "version": "7"}}
        else:
            told = {"error_code": "INVALID_PARAMETER_VALUE", "message": "Registered model alias gone not found."}
            status = 400
        body = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


def test_a_server_is_asked_for_an_alias_with_the_login(
    settings: Settings, home: Home, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}")
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(TrackingUnreachable, match="401"):
        alias_version(settings, "champion")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "secret\n")
    assert alias_version(settings, "champion") == 7
    assert alias_version(settings, "gone") is None
    path, header = server.asked[-1]
    assert path.endswith("registered-models/alias?name=packshot&alias=gone") and header == "Bearer secret"


@pytest.mark.parametrize("chained", [False, True])
def test_an_entry_that_somebody_wrote_past_packshot_makes_no_champion(shop: Shop, home: Home, chained: bool) -> None:
    shop.champions(0.9)
    refused = shop.register(0.1)
    with sqlite3.connect(home.ledger_db) as database:
        columns = "at, actor, kind, model_name, from_version, to_version, payload"
        row = ("2026-01-01T00:00:00+00:00", "mallory", "committed", "packshot", 1, refused, "{}")
        marks = ", ".join("?" * len(row))
        database.execute(
            f"INSERT INTO ledger ({columns}, chain) VALUES ({marks}, ?)", (*row, "f" * 64 if chained else None)
        )
    set_alias(shop.settings, "champion", refused)
    for use in (
        lambda: bundle_path(shop.settings, "champion"),
        lambda: bundle_path(checked(shop.settings, "ledger_only"), "champion"),
        lambda: promote(shop.settings, challenger=refused, workspace=shop.workspace),
        lambda: rollback(shop.settings),
        lambda: adopt(shop.settings),
    ):
        with pytest.raises(LedgerForged, match="registry verify") as error:
            use()
        assert error.value.exit_code == 65
