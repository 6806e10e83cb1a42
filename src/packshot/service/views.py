"""Filters of the grid that a person keeps under a name."""

from __future__ import annotations

from dataclasses import dataclass

from packshot.errors import PackshotError
from packshot.service.people import People

MOST = 50
LONGEST = 60


class NoView(PackshotError):
    """A filter cannot be kept: it has no name, or there are too many."""

    exit_code = 2


@dataclass(frozen=True)
class View:
    """`query` is that of an address of the grid."""

    title: str
    query: str


def views_of(people: People, name: str) -> list[View]:
    """What a person keeps, by title. Raises PeopleUnreadable."""
    with people.transaction("DEFERRED") as database:
        rows = database.execute("SELECT title, query FROM views WHERE name = ? ORDER BY title", (name,)).fetchall()
    return [View(row["title"], row["query"]) for row in rows]


def keep(people: People, name: str, view: View) -> None:
    """Keep a filter; one of the same title gives way. Raises NoView, PeopleUnreadable."""
    if not view.title.isprintable() or not 0 < len(view.title) <= LONGEST:
        raise NoView(f"a view needs a name of 1 to {LONGEST} characters")
    with people.transaction() as database:
        database.execute("INSERT OR REPLACE INTO views VALUES (?, ?, ?)", (name, view.title, view.query))
        if database.execute("SELECT count(*) FROM views WHERE name = ?", (name,)).fetchone()[0] > MOST:
            raise NoView(f"you keep {MOST} views; throw one away first")


def throw_away(people: People, name: str, title: str) -> None:
    """Keep a filter no more. Raises PeopleUnreadable."""
    with people.transaction() as database:
        database.execute("DELETE FROM views WHERE name = ? AND title = ?", (name, title))
