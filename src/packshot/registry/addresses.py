"""Where people look at what the registry keeps: addresses of MLflow's pages, for the desk and for Airflow."""

from __future__ import annotations

import json
import os
from typing import Any
from urllib.parse import quote, urlsplit

from packshot.config import Settings
from packshot.home import Home
from packshot.registry.tracking import without_login


def version_page(settings: Settings, number: int) -> str | None:
    """MLflow's page of a version of the model; None where no server with pages is known."""
    base = mlflow_pages(settings)
    if base is None:
        return None
    return f"{base}/#/models/{quote(settings.registry.model_name, safe='')}/versions/{number}"


def mlflow_pages(settings: Settings) -> str | None:
    """Where MLflow's pages are: of a server that was configured, or of the one that `make up` started.

    A login in the address is for programs; it is left out.
    """
    candidates = (os.environ.get("MLFLOW_TRACKING_URI"), settings.registry.tracking_uri, _started_here())
    for address in candidates:
        if address is not None and is_web(address.strip()):
            return without_login(address.strip()).rstrip("/")
    return None


def is_web(address: object) -> bool:
    """Whether a link may lead there."""
    parts = urlsplit(address) if isinstance(address, str) else None
    return parts is not None and parts.scheme in ("http", "https") and bool(parts.netloc)


def _started_here() -> str | None:
    try:
        running: Any = json.loads(Home.from_environment().services.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    address = running.get("mlflow_url") if isinstance(running, dict) else None
    return address if isinstance(address, str) else None
