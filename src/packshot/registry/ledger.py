"""The append-only record of who changed which model version, when, and on what evidence.

An entry is never changed or removed: triggers in the database refuse UPDATE, DELETE and a second entry of one id, are
put back where they are missing, and a chain of hashes (`packshot.registry.chain`) shows what went past them. A move of
an alias is three entries: `intent` (with the gate results), `moved`, `committed`; for a rollback `rollback_intent`,
`rollback_moved`, `rollback_committed`. What the alias must be is read from here, so the order of entries is their `id`,
never their time (a clock may go backwards). Writers on all machines take turns in the database: what an entry depends
on is asked in the transaction that writes it.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pydantic import ValidationError

from packshot.errors import PackshotError
from packshot.files import OutputNotWritable
from packshot.home import Home
from packshot.progress import say
from packshot.registry.chain import Witness, breaks, end_of, link
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
    sa.Column("chain", sa.String(64)),
    sqlite_autoincrement=True,
)
_FACTS = sa.select(*(column for column in ENTRIES.c if column.name != "chain")).order_by(ENTRIES.c.id)

_SQLITE_TRIGGERS = (
    *(
        f"""CREATE TRIGGER IF NOT EXISTS ledger_no_{verb.lower()} BEFORE {verb} ON ledger
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"""
        for verb in ("UPDATE", "DELETE")
    ),
    # INSERT OR REPLACE removes a row without asking the trigger on DELETE
    """CREATE TRIGGER IF NOT EXISTS ledger_no_replace BEFORE INSERT ON ledger
    WHEN EXISTS (SELECT 1 FROM ledger WHERE id = NEW.id)
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END""",
)
_POSTGRES_TRIGGERS = (
    """CREATE OR REPLACE FUNCTION ledger_append_only() RETURNS trigger AS $$
    BEGIN RAISE EXCEPTION 'the ledger is append-only'; END $$ LANGUAGE plpgsql""",
    """CREATE OR REPLACE TRIGGER ledger_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_append_only()""",
)
_TRIGGERS = {"sqlite": _SQLITE_TRIGGERS, "postgresql": _POSTGRES_TRIGGERS}
_GUARDS = {
    "sqlite": "SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'ledger_no_%'",
    "postgresql": """SELECT count(*) FROM pg_trigger
    WHERE tgname = 'ledger_append_only' AND tgrelid = 'ledger'::regclass AND tgenabled <> 'D'""",
}
"""How many of the triggers are in force."""
_GUARDED = {"sqlite": len(_SQLITE_TRIGGERS), "postgresql": 1}

_ALONE = {
    "sqlite": ("BEGIN IMMEDIATE",),
    "postgresql": ("SELECT pg_advisory_xact_lock(hashtext('packshot.ledger'))",),
}
"""One process at a time makes the ledger or writes to it, and a kill leaves all of it or nothing: SQLite's driver does
not begin a transaction for a table, a trigger or a SELECT by itself."""


class LedgerError(PackshotError):
    """The ledger cannot be opened, read or written, or was asked to record something it does not know."""

    exit_code = 74


class LedgerForged(PackshotError):
    """Entries were changed, replaced, removed or written past Packshot, so that nothing may follow from them."""

    exit_code = 65


class Ledger:
    """The ledger in SQLite (a path, or a URL) or PostgreSQL (a URL).

    Raises LedgerError where the database cannot be opened or written.
    """

    def __init__(self, where: Path | str) -> None:
        if isinstance(where, Path):
            _make_folder(where.parent)
            self.address = f"sqlite:///{where}"
            self._witness = where.with_suffix(".head.json")
        else:
            self.address = where
            name = hashlib.sha256(self._shown.encode()).hexdigest()[:12]
            self._witness = Home.from_environment().root / f"ledger-{name}.head.json"
        try:
            self._engine = sa.create_engine(self.address, pool_pre_ping=True)
            if self._engine.dialect.name not in _ALONE:
                raise LedgerError(
                    f"the ledger {self._shown} is in a database in which writers cannot take turns; use SQLite or "
                    "PostgreSQL"
                )
            self._create()
            self._guard()
        except (sa.exc.SQLAlchemyError, ImportError) as error:
            raise LedgerError(f"cannot open the ledger {self._shown}: {error}") from error

    @classmethod
    def from_environment(cls) -> Ledger:
        """`PACKSHOT_LEDGER_URL`, else `ledger.db` under PACKSHOT_HOME."""
        return cls(os.environ.get(URL_VARIABLE) or Home.from_environment().ledger_db)

    @property
    def _shown(self) -> str:
        return sa.make_url(self.address).render_as_string(hide_password=True)

    @contextmanager
    def _alone(self) -> Iterator[sa.Connection]:
        """A transaction during which nobody else writes to the ledger, on whatever machine."""
        with self._engine.begin() as connection:
            for statement in _ALONE[self._engine.dialect.name]:
                connection.execute(sa.text(statement))
            yield connection

    def _create(self) -> None:
        if sa.inspect(self._engine).has_table(ENTRIES.name):
            return
        with self._alone() as connection:
            _metadata.create_all(connection)
            self._make_triggers(connection)

    def _guard(self) -> None:
        """Put back what an older Packshot did not make yet or somebody took away: the column of hashes, triggers."""
        dialect = self._engine.dialect.name
        with self._engine.connect() as connection:
            columns = {column["name"] for column in sa.inspect(connection).get_columns(ENTRIES.name)}
            guards = connection.execute(sa.text(_GUARDS[dialect])).scalar_one()
        if "chain" in columns and guards == _GUARDED[dialect]:
            return
        with self._alone() as connection:
            # another process may have been here in between
            if "chain" not in {column["name"] for column in sa.inspect(connection).get_columns(ENTRIES.name)}:
                connection.execute(sa.text("ALTER TABLE ledger ADD COLUMN chain VARCHAR(64)"))
            self._make_triggers(connection)
        if "chain" in columns:
            say(
                f"the ledger {self._shown} had lost the triggers that keep entries from being changed; they are back. "
                "`packshot registry verify` tells whether entries were changed meanwhile"
            )

    def _make_triggers(self, connection: sa.Connection) -> None:
        for statement in _TRIGGERS[self._engine.dialect.name]:
            connection.execute(sa.text(statement))

    def record(
        self,
        kind: str,
        *,
        payload: Mapping[str, Any] | None = None,
        only_if: Callable[[State], None] | None = None,
        **fields: Any,
    ) -> int:
        """Append one entry and return its id.

        `kind` is one of KINDS, `fields` any of FIELDS (the actor defaults to the user at work), `payload` what the
        event of that kind holds, in plain JSON (NaN is refused). `only_if` is shown what the entries of `model_name`
        add up to, in the transaction that writes: nobody writes in between, and where it raises nothing is written.
        Raises LedgerError, and what `only_if` raises.
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
            with self._alone() as connection:
                if only_if is not None:
                    only_if(self._added_up(_entries(connection), row.get("model_name")))
                row["chain"] = link(_end(connection), row)
                key = connection.execute(sa.insert(ENTRIES).values(row)).inserted_primary_key
        except (sa.exc.SQLAlchemyError, ValueError, TypeError) as error:
            raise LedgerError(f"cannot write {kind!r} to the ledger {self._shown}: {error}") from error
        if key is None:
            raise LedgerError(f"the ledger {self._shown} did not say under which id it kept {kind!r}")
        self._remember(Witness(int(key[0]), row["chain"]))
        return int(key[0])

    def _remember(self, written: Witness) -> None:
        try:
            written.write(self._witness)
        except OutputNotWritable as error:
            say(f"the entry is in the ledger; what this machine keeps of it for `registry verify` is not: {error}")

    def breaks(self) -> list[str]:
        """What was changed, replaced or removed past the ledger: a sentence each, none where it is whole.

        Raises LedgerError.
        """
        try:
            with self._engine.connect() as connection:
                # the witness first: an entry written in between is in what is read then
                witness = Witness.read(self._witness)
                entries = _entries(connection)
        except sa.exc.SQLAlchemyError as error:
            raise LedgerError(f"cannot read the ledger {self._shown}: {error}") from error
        return breaks(entries, witness)

    def history(self, model_name: str | None = None, kind: str | None = None, after: int = 0) -> list[dict[str, Any]]:
        """All entries, oldest first, as dicts with the payload decoded; narrowed to a model, a kind, or those written
        after the entry `after`."""
        try:
            with self._engine.connect() as connection:
                return _rows(connection, model_name, kind, after)
        except sa.exc.SQLAlchemyError as error:
            raise LedgerError(f"cannot read the ledger {self._shown}: {error}") from error

    def newest(self, but: str) -> int:
        """The id of the newest entry that is not of the kind `but`, 0 where there is none. Raises LedgerError."""
        try:
            with self._engine.connect() as connection:
                found = connection.execute(sa.select(sa.func.max(ENTRIES.c.id)).where(ENTRIES.c.kind != but))
                return found.scalar_one() or 0
        except sa.exc.SQLAlchemyError as error:
            raise LedgerError(f"cannot read the ledger {self._shown}: {error}") from error

    def events(self, model_name: str | None = None, kind: str | None = None, after: int = 0) -> list[AnyEvent]:
        """As `history`, each entry as the event it is. Raises LedgerError for one that cannot be understood."""
        return self._parsed(self.history(model_name, kind, after))

    def _parsed(self, rows: list[dict[str, Any]]) -> list[AnyEvent]:
        found = []
        for row in rows:
            try:
                found.append(parse(row))
            except ValidationError as error:
                raise LedgerError(
                    f"entry {row['id']} of the ledger {self._shown}, of kind {row['kind']!r}, cannot be understood: "
                    f"{error}. Was it written by a newer Packshot?"
                ) from error
        return found

    def state(self, model_name: str) -> State:
        """What the entries of a model add up to: champion, standing, pending, shadow, approvals.

        Raises LedgerError, and LedgerForged where they do not follow from each other: what somebody wrote past Packshot
        promotes nothing.
        """
        try:
            with self._engine.connect() as connection:
                entries = _entries(connection)
        except sa.exc.SQLAlchemyError as error:
            raise LedgerError(f"cannot read the ledger {self._shown}: {error}") from error
        return self._added_up(entries, model_name)

    def _added_up(self, entries: list[dict[str, Any]], model_name: Any) -> State:
        found = breaks(entries)
        if found:
            raise LedgerForged(
                f"the ledger {self._shown} is not as Packshot wrote it: {found[0]}. Nothing is promoted or scored by "
                "it; look at `packshot registry verify` and `registry history`, and put the database back from a backup"
            )
        own = [entry for entry in entries if entry["model_name"] == model_name]
        return replay(self._parsed([{**entry, "payload": json.loads(entry["payload"])} for entry in own]))

    def heldout_uses(self, data_rev: str) -> int:
        """How often the held-out rows of a data revision have decided about a promotion."""
        return sum(row["data_rev"] == data_rev for row in self.history(kind="heldout_use"))


def _entries(connection: sa.Connection) -> list[dict[str, Any]]:
    """Every entry as it is stored, with its hash."""
    return [dict(row) for row in connection.execute(sa.select(ENTRIES).order_by(ENTRIES.c.id)).mappings()]


def _rows(
    connection: sa.Connection, model_name: str | None, kind: str | None = None, after: int = 0
) -> list[dict[str, Any]]:
    query = _FACTS.where(ENTRIES.c.id > after)
    if model_name is not None:
        query = query.where(ENTRIES.c.model_name == model_name)
    if kind is not None:
        query = query.where(ENTRIES.c.kind == kind)
    rows = [dict(row) for row in connection.execute(query).mappings()]
    for row in rows:
        row["payload"] = json.loads(row["payload"])
    return rows


def _end(connection: sa.Connection) -> str:
    """The hash that the next entry follows."""
    last = connection.execute(sa.select(ENTRIES).order_by(ENTRIES.c.id.desc()).limit(1)).mappings().first()
    if last is None or last["chain"]:
        return end_of([dict(last)] if last else [])
    return end_of([dict(row) for row in connection.execute(sa.select(ENTRIES).order_by(ENTRIES.c.id)).mappings()])


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
