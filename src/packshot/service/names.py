"""What keys and people are called: the ledger names them so, and no two share a name."""

from __future__ import annotations

from packshot.errors import PackshotError
from packshot.service.keys import Keys
from packshot.service.people import People

LONGEST = 80


class NameRefused(PackshotError):
    """Nothing may be called so, or something is already."""

    exit_code = 2


def check_name(name: str, keys: Keys, people: People) -> None:
    """Whether a new key or person may be called so. Raises NameRefused, KeysDamaged, PeopleUnreadable."""
    if not name.strip() or name != name.strip() or len(name) > LONGEST or not name.isprintable():
        raise NameRefused(f"a name has 1 to {LONGEST} characters that can be printed, and no space around them")
    if any(person.name == name and person.removed is None for person in people.all()):
        raise NameRefused(f"there is a person called {name!r}; choose another name")
    if any(key.name == name and key.revoked_at is None for key in keys.all()):
        raise NameRefused(f"there is a key called {name!r}; revoke it first, or choose another name")
