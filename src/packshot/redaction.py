"""Secrets taken out of what is shown: error messages, progress, the logs of tasks.

An address with a password, a bearer header or the value of a secret variable may stand in the message of any library.
So every text that leaves a process goes through one function, instead of each message being written with care.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

HIDDEN = "***"
SECRET_NAMES = re.compile(
    r"TOKEN|PASSWORD|PASSWD|SECRET|CREDENTIAL|FERNET|WEBHOOK_URL|ACCESS_KEY|API_KEY|PRIVATE_KEY|AIRFLOW_CONN_"
)
"""Names of environment variables whose whole value is a secret..."""
_PLACES = ("_FILE", "_PATH", "_DIR")
"""...unless they end so: the value is where the secret lies."""
SHORTEST_SECRET = 6
"""A shorter value would be found in ordinary words."""
_USERINFO = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]*://)(?P<user>[^\s/:@'\"]*):[^\s/'\"]+@")
_QUERY = re.compile(r"(?i)(?P<name>[?&](?:password|passwd|pwd|token|access_token|sig|signature|secret|key)=)[^&\s'\"]+")
_BEARER = re.compile(r"(?P<scheme>Bearer |Authorization: Basic )[^\s'\"]+")


def redacted(text: str, environment: Mapping[str, str] | None = None) -> str:
    """`text` with passwords of addresses, bearer and basic headers, and the values of secret variables as `***`."""
    shown = _USERINFO.sub(rf"\g<scheme>\g<user>:{HIDDEN}@", text)
    shown = _QUERY.sub(rf"\g<name>{HIDDEN}", shown)
    shown = _BEARER.sub(rf"\g<scheme>{HIDDEN}", shown)
    for value in _secrets(os.environ if environment is None else environment):
        shown = shown.replace(value, HIDDEN)
    return shown


def is_secret(name: str, value: str) -> bool:
    """Whether an environment variable holds a secret, by its name or because its value is an address with one."""
    return _named_secret(name) or redacted(value, {}) != value


def _named_secret(name: str) -> bool:
    return bool(SECRET_NAMES.search(name)) and not name.endswith(_PLACES)


def _secrets(environment: Mapping[str, str]) -> list[str]:
    found = {value.strip() for name, value in environment.items() if _named_secret(name)}
    return sorted((value for value in found if len(value) >= SHORTEST_SECRET), key=len, reverse=True)
