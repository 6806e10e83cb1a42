"""The append-only record of who changed which model version, when, and on what evidence.

An entry is never changed or removed: triggers in the database refuse UPDATE and DELETE. A move of an alias is
three entries of one transaction: `intent` (with the gate results), `moved`, `committed`; for a rollback
`rollback_intent`, `rollback_moved`, `rollback_committed`. What the alias must be is read from here, so the order of
entries is their `id`, never their time (a clock may go backwards).
"""

from __future__ import annotations

import getpass
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pydantic import ValidationError

from packshot.errors import PackshotError
from packshot.home import Home
from packshot.registry.events import KINDS, AnyEvent, parse
from packshot.registry.state import State, replay

URL_VARIABLE = "PACKSHOT_LEDGER_URL"
TASK_URL_VARIABLE = "PACKSHOT_TASK_URL"
"""The page of the Airflow task at work; every entry written under it keeps it as `airflow` in its payload."""
FIELDS = ("actor", "model_name", "from_version", "to_version", "run_id", "data_rev", "code_rev", "params_hash")

_metadata = sa.MetaData()
ENTRIES = sa.Table(
    "ledger",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("at", sa.String(40), nullable=False),
    sa.Column("actor", sa.String(200), nullable=False),
    sa.Column("kind", sa.String(40), nullable=False),
    sa.Column("model_name", sa.String(200)),
    sa.Column("from_version", sa.Integer),
    sa.Column("to_version", sa.Integer),
    sa.Column("run_id", sa.String(64)),
    sa.Column("data_rev", sa.String(64)),
    sa.Column("code_rev", sa.String(64)),
    sa.Column("params_hash", sa.String(64)),
    sa.Column("payload", sa.Text, nullable=False),
    sqlite_autoincrement=True,
)

_SQLITE_TRIGGERS = tuple(
    f"""CREATE TRIGGER IF NOT EXISTS ledger_no_{verb.lower()} BEFORE {verb} ON ledger
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"""
    for verb in ("UPDATE", "DELETE")
)
_POSTGRES_TRIGGERS = (
    """CREATE OR REPLACE FUNCTION ledger_append_only() RETURNS trigger AS $$
    BEGIN RAISE EXCEPTION 'the ledger is append-only'; END $$ LANGUAGE plpgsql""",
    """CREATE OR REPLACE TRIGGER ledger_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_append_only()""",
)
_TRIGGERS = {"sqlite": _SQLITE_TRIGGERS, "postgresql": _POSTGRES_TRIGGERS}

_ALONE = {
    "sqlite": ("BEGIN IMMEDIATE",),
    "postgresql": ("SELECT pg_advisory_xact_lock(hashtext('packshot.ledger'))",),
}
"""One process at a time makes the ledger, and a kill leaves all of it or nothing: SQLite's driver does not begin a
transaction for a table or a trigger by itself."""


class LedgerError(PackshotError):
    """The ledger cannot be opened, read or written, or was asked to record something it does not know."""

    exit_code = 74


class Ledger:
    """The ledger in SQLite (a path) or in any database SQLAlchemy reaches (a URL).

    Raises LedgerError where the database cannot be opened or written.
    """

    def __init__(self, where: Path | str) -> None:
        if isinstance(where, Path):
            _make_folder(where.parent)
            self.address = f"sqlite:///{where}"
        else:
            self.address = where
        try:
            self._engine = sa.create_engine(self.address)
            self._create()
        except (sa.exc.SQLAlchemyError, ImportError) as error:
            raise LedgerError(f"cannot open the ledger {self._shown}: {error}") from error

    @classmethod
    def from_environment(cls) -> Ledger:
        """`PACKSHOT_LEDGER_URL`, else `ledger.db` under PACKSHOT_HOME."""
        return cls(os.environ.get(URL_VARIABLE) or Home.from_environment().ledger_db)

    @property
    def _shown(self) -> str:
        return sa.make_url(self.address).render_as_string(hide_password=True)

    def _create(self) -> None:
        if sa.inspect(self._engine).has_table(ENTRIES.name):
            return
        with self._engine.begin() as connection:
            for statement in _ALONE.get(self._engine.dialect.name, ()):
                connection.execute(sa.text(statement))
            _metadata.create_all(connection)
            for statement in _TRIGGERS.get(self._engine.dialect.name, ()):
                connection.execute(sa.text(statement))

    def record(self, kind: str, *, payload: Mapping[str, Any] | None = None, **fields: Any) -> int:
        """Append one entry and return its id.

        `kind` is one of KINDS, `fields` any of FIELDS (the actor defaults to the user at work), `payload` what the
        event of that kind holds, in plain JSON (NaN is refused). Raises LedgerError.
        """
        if kind not in KINDS:
            raise LedgerError(f"the ledger has no entries of kind {kind!r}; it has {', '.join(sorted(KINDS))}")
        unknown = set(fields) - set(FIELDS)
        if unknown:
            raise LedgerError(f"the ledger has no column {sorted(unknown)}; use `payload` for what it does not name")
        row = {**fields, "kind": kind, "at": datetime.now(UTC).isoformat(timespec="milliseconds")}
        row["actor"] = row.get("actor") or default_actor()
        page = os.environ.get(TASK_URL_VARIABLE)
        told = {**(payload or {}), **({"airflow": page} if page else {})}
        try:
            row["payload"] = json.dumps(told, sort_keys=True, allow_nan=False)
            parse({**row, "payload": told})
            with self._engine.begin() as connection:
                key = connection.execute(sa.insert(ENTRIES).values(row)).inserted_primary_key
        except (sa.exc.SQLAlchemyError, ValueError, TypeError) as error:
            raise LedgerError(f"cannot write {kind!r} to the ledger {self._shown}: {error}") from error
        if key is None:
            raise LedgerError(f"the ledger {self._shown} did not say under which id it kept {kind!r}")
        return int(key[0])

    def history(self, model_name: str | None = None, kind: str | None = None) -> list[dict[str, Any]]:
        """All entries, oldest first, as dicts with the payload decoded; narrowed to a model or a kind."""
        query = sa.select(ENTRIES).order_by(ENTRIES.c.id)
        if model_name is not None:
            query = query.where(ENTRIES.c.model_name == model_name)
        if kind is not None:
            query = query.where(ENTRIES.c.kind == kind)
        try:
            with self._engine.connect() as connection:
                rows = [dict(row) for row in connection.execute(query).mappings()]
        except sa.exc.SQLAlchemyError as error:
            raise LedgerError(f"cannot read the ledger {self._shown}: {error}") from error
        for row in rows:
            row["payload"] = json.loads(row["payload"])
        return rows

    def events(self, model_name: str | None = None, kind: str | None = None) -> list[AnyEvent]:
        """As `history`, each entry as the event it is. Raises LedgerError for one that cannot be understood."""
        found = []
        for row in self.history(model_name, kind):
            try:
                found.append(parse(row))
            except ValidationError as error:
                raise LedgerError(
                    f"entry {row['id']} of the ledger {self._shown}, of kind {row['kind']!r}, cannot be understood: "
                    f"{error}. Was it written by a newer Packshot?"
                ) from error
        return found

    def state(self, model_name: str) -> State:
        """What the entries of a model add up to: champion, standing, pending, shadow, approvals. Raises LedgerError."""
        return replay(self.events(model_name))

    def heldout_uses(self, data_rev: str) -> int:
        """How often the held-out rows of a data revision have decided about a promotion."""
        return sum(row["data_rev"] == data_rev for row in self.history(kind="heldout_use"))


def default_actor() -> str:
    """`PACKSHOT_ACTOR`, else the user name of the process."""
    named = os.environ.get("PACKSHOT_ACTOR")
    if named:
        return named
    with suppress(OSError, KeyError):
        return getpass.getuser()
    return f"uid {os.getuid()}"


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LedgerError(f"cannot make the ledger's folder {folder}: {error.strerror}") from error
