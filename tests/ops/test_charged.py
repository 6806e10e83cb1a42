"""Work leaves its cost in the ledger whether it ends well or not, and is not stopped by the ledger."""

from __future__ import annotations

import pytest

from packshot.config import load_settings
from packshot.ops.charged import charged
from packshot.registry.ledger import Ledger


def test_failed_work_has_cost_too(tmp_path, monkeypatch):
    monkeypatch.setenv("PACKSHOT_LEDGER_URL", f"sqlite:///{tmp_path}/ledger.db")
    settings = load_settings()
    with charged(settings, "score", payload={"batch": "one"}, to_version=3) as told:
        told["rows"] = 7
    with pytest.raises(OSError, match="full"), charged(settings, "score", payload={"batch": "two"}):
        raise OSError("disk full")
    first, second = Ledger.from_environment().history()
    assert (first["to_version"], first["payload"]["batch"], first["payload"]["rows"]) == (3, "one", 7)
    assert first["payload"]["cost"]["currency"] == settings.cost.currency and "failure" not in first["payload"]
    assert second["payload"]["failure"] == "OSError: disk full" and second["payload"]["cost"]["wall_s"] >= 0


def test_a_ledger_out_of_reach_does_not_undo_the_work(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PACKSHOT_LEDGER_URL", f"sqlite:///{tmp_path}/missing/ledger.db")
    with charged(load_settings(), "drift", payload={}):
        pass
    assert "not in the ledger" in capsys.readouterr().err
