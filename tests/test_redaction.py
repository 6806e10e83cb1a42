"""Secrets do not leave a process in what it shows."""

from __future__ import annotations

import pytest

from packshot.errors import PackshotError
from packshot.progress import say
from packshot.redaction import is_secret, redacted

SECRET = "tr0ub4dor&3"


@pytest.mark.parametrize(
    "address",
    [
        f"http://ann:{SECRET}@mlflow.shop:5000/api",
        f"postgresql+psycopg2://ann:{SECRET}@db/mlflow?sslmode=require",
        f"postgresql://ann:{SECRET}@extra@db/mlflow",
        f"redis://:{SECRET}@redis:6379/0",
        "https://hooks.shop/in?token=tr0ub4dor",
        "Illegal header value b'Bearer tr0ub4dor\\n'",
        "Authorization: Basic tr0ub4dor",
    ],
)
def test_a_secret_in_an_address_or_header_is_hidden_and_the_rest_stays(address):
    shown = redacted(f"cannot reach {address} now", {})
    assert "tr0ub4dor" not in shown and "extra" not in shown
    assert shown.startswith("cannot reach ") and shown.endswith(" now") and "***" in shown


@pytest.mark.parametrize(
    "text",
    [
        "http://mlflow.shop:5000/api",
        "file:///srv/packshot/mlflow/artifacts",
        "s3://bucket/prefix and ann@shop.example",
        "12:30 PackshotError: basic auth, bearer of news",
        "sqlite:////srv/packshot/ledger.db?timeout=60",
    ],
)
def test_what_holds_no_secret_is_left_as_it_is(text):
    assert redacted(text, {}) == text


def test_values_of_secret_variables_are_hidden_wherever_they_stand():
    environment = {"PACKSHOT_WEBHOOK_TOKEN": f"{SECRET}\n", "AIRFLOW__CORE__PASSWORDS_FILE": "/srv/passwords.json"}
    assert redacted(f"refused {SECRET}; see /srv/passwords.json", environment) == "refused ***; see /srv/passwords.json"


def test_a_variable_is_a_secret_by_its_name_or_by_its_value():
    assert is_secret("PACKSHOT_WEBHOOK_URL", "https://hooks.shop/in/abc")
    assert is_secret("PACKSHOT_LEDGER_URL", "postgresql://ann:secret@db/ledger")
    assert not is_secret("PACKSHOT_LEDGER_URL", "sqlite:////srv/ledger.db")
    assert not is_secret("PACKSHOT__TRAINING__RECIPE", "champion")


def test_errors_and_progress_are_shown_without_secrets(capsys):
    error = PackshotError(f"MLflow at http://ann:{SECRET}@mlflow:5000 does not answer")
    say(f"{error}; again: postgresql://ann:{SECRET}@db/x")
    assert SECRET not in str(error) + capsys.readouterr().err
