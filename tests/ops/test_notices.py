"""People are told of every event once, by real receivers; one that fails stops nothing and is told later."""

from __future__ import annotations

import email
import email.policy
import json
import time
from datetime import UTC, datetime, timedelta

import pytest
from receivers import mail_server, webhook
from typer.testing import CliRunner

from packshot.cli import app
from packshot.config import load_settings
from packshot.ops import notifiers
from packshot.ops.notices import notices, send_waiting, tell
from packshot.registry.ledger import TASK_URL_VARIABLE, Ledger


@pytest.fixture
def ledger(tmp_path, monkeypatch):
    monkeypatch.setenv("PACKSHOT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("PACKSHOT_LEDGER_URL", raising=False)
    monkeypatch.setattr(notifiers, "BACKOFF_S", 0.01)
    return Ledger.from_environment()


@pytest.fixture
def hook():
    with webhook() as server:
        yield server


@pytest.fixture
def told_by(monkeypatch):
    """Settings with these notifiers and values."""

    def make(*to, **values):
        monkeypatch.setenv("PACKSHOT__NOTICES__TO", json.dumps(to))
        for name, value in values.items():
            monkeypatch.setenv(f"PACKSHOT__NOTICES__{name.upper()}", json.dumps(value))
        return load_settings()

    return make


def promoted(ledger, version=2):
    return ledger.record("committed", model_name="packshot", from_version=1, to_version=version, run_id="r1")


def test_a_promotion_is_posted_once_with_its_model_and_its_links(ledger, hook, told_by, monkeypatch):
    monkeypatch.setenv("PACKSHOT_WEBHOOK_TOKEN", "s3cret")
    monkeypatch.setenv(TASK_URL_VARIABLE, "http://airflow/dags/promote")
    settings = told_by("webhook", webhook_url=hook.url, report_url="http://reports/")
    entry = promoted(ledger)
    assert send_waiting(settings) == 1
    assert send_waiting(settings) == 0, "the retry of a step tells nothing twice"
    [(headers, body)] = hook.posts
    assert headers["Authorization"] == "Bearer s3cret" and headers["Idempotency-Key"] == f"promoted/{entry}"
    assert (body["event"], body["model"], body["version"], body["run_id"]) == ("promoted", "packshot", 2, "r1")
    assert body["subject"] == "packshot: version 2 is the champion" and "version 1 before" in body["text"]
    assert (body["report"], body["airflow"]) == ("http://reports/", "http://airflow/dags/promote")


def test_each_event_has_its_notice_and_repeated_findings_share_one(ledger, told_by):
    refusal = {"outcome": "refused", "reason": "worse than the champion"}
    drift = {"batch": "b7", "alarm": True, "reason": "p = 0.002", "report": "/v/drift.html"}
    for _ in range(2):
        ledger.record("gate", model_name="m", from_version=1, to_version=2, payload=refusal)
        ledger.record("refused", model_name="m", from_version=1, to_version=2, payload=refusal)
        ledger.record("drift", model_name="m", to_version=1, payload=drift)
    ledger.record("gate", model_name="m", from_version=2, to_version=3, payload={"outcome": "promoted", "reason": ""})
    ledger.record("drift", model_name="m", to_version=1, payload=drift | {"alarm": False, "batch": "calm"})
    ledger.record("drift", model_name="m", to_version=1, payload={"batch": "broken", "failure": "OSError: full"})
    ledger.record("approval", actor="ann", model_name="m", to_version=3, payload={"outcome": "rejected", "reason": ""})
    ledger.record("approval", actor="bo", model_name="m", to_version=3, payload={"outcome": "approved", "reason": ""})
    ledger.record("rollback_committed", model_name="m", from_version=2, to_version=1)
    found = list(notices(told_by("log").notices, ledger.events()))
    assert [one.event for one in found] == ["refused", "drift_alarm", "rejected", "rolled_back"]
    assert "worse than the champion" in found[0].text and "/v/drift.html" in found[1].text and "ann" in found[2].text


def test_a_failing_webhook_is_asked_again_and_what_it_missed_is_sent_later(ledger, hook, told_by, capsys):
    settings = told_by("webhook", "log", webhook_url=hook.url, attempts=3)
    promoted(ledger)
    promoted(ledger, 3)
    hook.answers = [500] * 3
    tell(settings)
    assert len(hook.posts) == 3, "the second notice is not tried on a receiver that just failed"
    said = capsys.readouterr().err
    assert "could not be sent by webhook" in said and "500" in said and "secret-path" not in said
    assert said.count("notice: packshot") == 2, "the other notifier is not held up"
    hook.answers = [503, 200]
    tell(settings)
    assert [body["version"] for _, body in hook.posts[3:]] == [2, 2, 3]
    assert "notice: packshot" not in capsys.readouterr().err


def test_a_receiver_that_refuses_one_notice_gets_the_others(ledger, hook, told_by, capsys):
    promoted(ledger)
    promoted(ledger, 3)
    hook.answers = [400]
    assert send_waiting(told_by("webhook", webhook_url=hook.url)) == 1
    assert len(hook.posts) == 2 and "not taken by webhook: 127.0.0.1 answered 400" in capsys.readouterr().err


def test_a_token_that_ends_in_a_newline_is_sent_and_never_shown(ledger, hook, told_by, monkeypatch, capsys):
    monkeypatch.setenv("PACKSHOT_WEBHOOK_TOKEN", "tr0ub4dor\n")
    settings = told_by("webhook", webhook_url=f"{hook.url}\n")
    promoted(ledger)
    assert send_waiting(settings) == 1
    assert hook.posts[0][0]["Authorization"] == "Bearer tr0ub4dor"
    monkeypatch.setenv("PACKSHOT_WEBHOOK_TOKEN", "tr0ub4\ndor")  # no header can hold it
    promoted(ledger, version=3)
    assert send_waiting(settings) == 0
    said = capsys.readouterr().err
    assert "could not be sent" in said and "tr0ub4" not in said and "dor" not in said


def test_a_webhook_that_hangs_holds_nothing_up(ledger, hook, told_by, capsys):
    hook.hangs_s = 30
    promoted(ledger)
    begun = time.monotonic()
    tell(told_by("webhook", webhook_url=hook.url, timeout_s=0.2, attempts=2))
    assert time.monotonic() - begun < 5 and len(hook.posts) == 2
    assert "it waits: ReadTimeout" in capsys.readouterr().err


def test_a_webhook_without_an_address_and_a_ledger_out_of_reach_are_said(ledger, told_by, monkeypatch, capsys):
    promoted(ledger)
    tell(told_by("webhook"))
    assert "PACKSHOT_WEBHOOK_URL" in capsys.readouterr().err
    monkeypatch.setenv("PACKSHOT_LEDGER_URL", "sqlite:////nowhere/at/all/ledger.db")
    tell(told_by("log"))
    assert "notices wait: cannot open the ledger" in capsys.readouterr().err


def test_mail_goes_by_the_connection_of_airflow(ledger, told_by, monkeypatch, tmp_path):
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "airflow"))
    promoted(ledger)
    with mail_server() as server:
        connection = {"conn_type": "smtp", "host": "127.0.0.1", "port": server.server_address[1]}
        connection["extra"] = {"disable_ssl": True, "disable_tls": True, "from_email": "shop@example.org"}
        monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", json.dumps(connection))
        assert send_waiting(told_by("email", email=["ann@example.org", "bo@example.org"])) == 1
    [message] = [email.message_from_string(one, policy=email.policy.default) for one in server.messages]
    assert message["Subject"] == "packshot: version 2 is the champion" and message["From"] == "shop@example.org"
    assert len(server.recipients) == 2 and message["X-Packshot-Notice"].startswith("promoted/")
    assert "version 1 before" in message.get_body().get_content()


def test_a_failed_task_is_told_once_for_each_try(ledger, hook, told_by, monkeypatch):
    told_by("webhook", webhook_url=hook.url)
    failed = ["notices", "failed", "--dag=score", "--run=r", "--task=score[1]", "--cause=-9: out of memory"]
    for attempt in (3, 3, 4):
        answer = CliRunner().invoke(app, [*failed, f"--attempt={attempt}"])
        assert answer.exit_code == 0, answer.output
    assert [body["key"] for _, body in hook.posts] == [f"task_failed/r/score.score[1]/{n}" for n in (3, 4)]
    assert hook.posts[0][1]["subject"] == "score.score[1] failed" and "out of memory" in hook.posts[0][1]["text"]


def test_old_news_is_not_sent(ledger, told_by, monkeypatch):
    from packshot.registry import ledger as module

    class Earlier(datetime):
        @classmethod
        def now(cls, zone=None):
            return datetime.now(UTC) - timedelta(hours=49)

    with monkeypatch.context() as patch:
        patch.setattr(module, "datetime", Earlier)
        promoted(ledger)
    settings = told_by("log", max_age_hours=48)
    assert list(notices(settings.notices, ledger.events())) == []
    assert CliRunner().invoke(app, ["notices", "send"]).exit_code == 99
