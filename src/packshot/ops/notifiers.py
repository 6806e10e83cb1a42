"""Where notices go: the log, a webhook, e-mail. Each sends one notice or raises."""

from __future__ import annotations

import html
import logging
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

from packshot.config import NoticesSettings, SettingsError
from packshot.errors import PackshotError
from packshot.home import Home
from packshot.progress import say

URL_VARIABLE = "PACKSHOT_WEBHOOK_URL"
TOKEN_VARIABLE = "PACKSHOT_WEBHOOK_TOKEN"
SMTP_CONNECTION = "smtp_default"
BACKOFF_S, LONGEST_BACKOFF_S = 1.0, 30.0
TOO_MANY_REQUESTS = 429


@dataclass(frozen=True)
class Notice:
    """What happened, to which model, and where to read more. `key` is the same however often it is sent."""

    key: str
    event: str
    subject: str
    text: str
    at: str
    model: str | None
    version: int | None
    run_id: str | None
    report: str | None
    airflow: str | None

    def as_record(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    def message(self) -> str:
        """The text, with the links below."""
        links = {"report": self.report, "Airflow": self.airflow, "MLflow run": self.run_id}
        return "\n".join([self.text, *(f"{name}: {value}" for name, value in links.items() if value)])


class Notifier(Protocol):
    """A way to tell people."""

    name: str

    def send(self, notice: Notice) -> None:
        """Deliver one notice. Raises NotTaken where others may be taken, anything else where none will be now."""


class NotTaken(PackshotError):
    """The receiver answers, and refuses this very notice."""


class ReceiverFailing(PackshotError):
    """The receiver has trouble of its own."""


class LogNotifier:
    """Says a notice on standard error, so that it stands in the log of the task."""

    name = "log"

    def send(self, notice: Notice) -> None:
        """Say subject and message."""
        say(f"notice: {notice.subject}\n{notice.message()}")


class WebhookNotifier:
    """Posts a notice as JSON; the key goes along as `Idempotency-Key`, so that a receiver can drop a repetition."""

    name = "webhook"

    def __init__(self, settings: NoticesSettings, environment: Mapping[str, str]) -> None:
        # a variable that was read from a file ends in a newline, and httpx shows a header that it refuses
        self._url = (environment.get(URL_VARIABLE) or settings.webhook_url or "").strip()
        self._token = (environment.get(TOKEN_VARIABLE) or "").strip()
        self._timeout_s, self._attempts = settings.timeout_s, settings.attempts

    def send(self, notice: Notice) -> None:
        """Post, trying again with growing pauses where the receiver does not answer, or says 429 or 5xx."""
        import httpx
        import tenacity

        if not self._url:
            raise SettingsError(
                f"no address for the webhook: set {URL_VARIABLE}, or notices.webhook_url in params.yaml"
            )
        # the addresses of webhooks are secrets, and httpx logs every address
        logging.getLogger("httpx").setLevel(logging.WARNING)
        trying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self._attempts),
            wait=tenacity.wait_exponential(BACKOFF_S, LONGEST_BACKOFF_S),
            retry=tenacity.retry_if_exception_type((httpx.TransportError, ReceiverFailing)),
            reraise=True,
        )
        trying(self._post, self._url, notice)

    def _post(self, url: str, notice: Notice) -> None:
        import httpx

        headers = {"Idempotency-Key": notice.key}
        headers |= {"Authorization": f"Bearer {self._token}"} if self._token else {}
        status = httpx.post(url, json=notice.as_record(), headers=headers, timeout=self._timeout_s).status_code
        if status == TOO_MANY_REQUESTS or status >= 500:
            raise ReceiverFailing(f"{urlsplit(url).hostname} answered {status}")
        if not 200 <= status < 300:
            raise NotTaken(f"{urlsplit(url).hostname} answered {status}")


class EmailNotifier:
    """Sends by the SMTP connection of Airflow, `AIRFLOW_CONN_SMTP_DEFAULT`, which holds server, login and sender."""

    name = "email"

    def __init__(self, settings: NoticesSettings) -> None:
        self._to = settings.email

    def send(self, notice: Notice) -> None:
        """Send one message to all addresses."""
        # without it Airflow makes a folder in the home of whoever runs this
        os.environ.setdefault("AIRFLOW_HOME", str(Home.from_environment().airflow))
        from airflow.providers.smtp.hooks.smtp import SmtpHook

        with SmtpHook(smtp_conn_id=SMTP_CONNECTION) as smtp:
            smtp.send_email_smtp(
                to=list(self._to),
                subject=notice.subject,
                html_content=f"<pre>{html.escape(notice.message())}</pre>",
                custom_headers={"X-Packshot-Notice": notice.key},
            )


def notifiers(settings: NoticesSettings) -> list[Notifier]:
    """Those that `notices.to` names."""
    known: dict[str, Notifier] = {
        "log": LogNotifier(),
        "webhook": WebhookNotifier(settings, os.environ),
        "email": EmailNotifier(settings),
    }
    return [known[name] for name in settings.to]
