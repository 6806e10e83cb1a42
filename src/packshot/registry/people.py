"""One person, several accounts: the name in Airflow and the user of the operating system."""

from __future__ import annotations

import os
import pwd

from packshot.config import Settings


def person(settings: Settings, account: str) -> str:
    """Who an account belongs to by `registry.people`; an account that is not listed is a person of its own."""
    for name, accounts in settings.registry.people.items():
        if account == name or account in accounts:
            return name
    return account


def accounts_of(settings: Settings, name: str) -> tuple[str, ...]:
    """The names that a person (or one of their accounts) goes by, `name` first."""
    owner = person(settings, name)
    known = (owner, *settings.registry.people.get(owner, ()))
    return (name, *(account for account in known if account != name))


def user_at_work() -> str:
    """The operating system's user of this process, by its id: no variable of the environment changes it."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"
