"""Where the alias of a model points, read without MLflow's package, and whether that is what the ledger promoted.

A local store is asked by SQL, a server by its REST interface; every other kind of store by MLflow itself. What scores
is the ledger's champion; the alias is only compared with it, since whoever reads MLflow by other means follows it.
"""

from __future__ import annotations

import json
import os
import ssl
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from packshot.config import Settings
from packshot.errors import PackshotError
from packshot.registry.ledger import Ledger
from packshot.registry.state import State
from packshot.registry.tracking import PROBE_TIMEOUT_S, TrackingUnreachable, authorization, tracking_uri

CHAMPION = "champion"
TABLE = "registered_model_aliases"
REGISTRY_VARIABLE = "MLFLOW_REGISTRY_URI"
WORKSPACE_VARIABLE, DEFAULT_WORKSPACE = "MLFLOW_WORKSPACE", "default"


class AliasMovedByHand(PackshotError):
    """The alias is not where the ledger left it."""

    exit_code = 75


class AliasUnknown(PackshotError):
    """MLflow cannot say where the alias is, so nobody knows whether it was moved by hand."""

    exit_code = 75


def promoted(settings: Settings, ledger: Ledger) -> int | None:
    """The version that the ledger made champion, None before the first, with the alias compared.

    `registry.alias_check: ledger_only` leaves the comparison out. Raises AliasMovedByHand, AliasUnknown.
    """
    name = settings.registry.model_name
    if settings.registry.alias_check == "ledger_only":
        return ledger.state(name).champion
    for last in (False, True):
        state = ledger.state(name)
        try:
            found = alias_version(settings, CHAMPION)
        except TrackingUnreachable as error:
            raise AliasUnknown(
                f"whether the alias {CHAMPION!r} of {name} is where the ledger left it ({in_words(state.champion)}) "
                f"cannot be told: {error} To go by the ledger alone, set registry.alias_check to ledger_only"
            ) from error
        # a move that ends between the two reads looks like one by hand, once
        if found in state.alias_may_be or last:
            break
    return agreed(settings, state, found)


def agreed(settings: Settings, state: State, found: int | None) -> int | None:
    """The ledger's champion, where the alias `found` is there or at an end of a move at work.

    Raises AliasMovedByHand.
    """
    if found not in state.alias_may_be:
        name = settings.registry.model_name
        raise AliasMovedByHand(
            f"the alias {CHAMPION!r} of {name} points at {in_words(found)}, the ledger's last word is "
            f"{in_words(state.champion)}: somebody moved it by hand. `packshot registry adopt` accepts where it is "
            f"now; to undo it, set the alias back to {in_words(state.champion)}. Until then nothing is scored, "
            "reported, exported, promoted or rolled back by it"
        )
    return state.champion


def alias_version(settings: Settings, alias: str) -> int | None:
    """The version number under an alias, None where the alias or the model does not exist.

    Raises TrackingUnreachable.
    """
    uri = os.environ.get(REGISTRY_VARIABLE, "").strip() or tracking_uri(settings)
    name = settings.registry.model_name
    if uri.startswith(("http://", "https://")):
        return _by_rest(settings, uri, name, alias)
    if uri.startswith(("sqlite:", "postgresql", "mysql", "mssql")):
        return _by_sql(uri, name, alias)
    return _by_mlflow(settings, name, alias)


def _by_sql(uri: str, name: str, alias: str) -> int | None:
    import sqlalchemy as sa

    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).is_file():
        return None  # no version was ever registered; connecting would make the file
    try:
        engine = sa.create_engine(uri, poolclass=sa.NullPool)
        with engine.connect() as connection:
            if not sa.inspect(connection).has_table(TABLE):
                return None
            asked = sa.text(f"SELECT * FROM {TABLE} WHERE name = :name AND alias = :alias")
            rows = connection.execute(asked, {"name": name, "alias": alias}).mappings().all()
    except (sa.exc.SQLAlchemyError, ImportError) as error:
        raise TrackingUnreachable(sa.make_url(uri).render_as_string(hide_password=True), error) from error
    workspace = os.environ.get(WORKSPACE_VARIABLE) or DEFAULT_WORKSPACE
    found = [row for row in rows if row.get("workspace", workspace) == workspace]
    return int(found[0]["version"]) if found else None


def _by_rest(settings: Settings, uri: str, name: str, alias: str) -> int | None:
    query = urllib.parse.urlencode({"name": name, "alias": alias})
    request = urllib.request.Request(f"{uri.rstrip('/')}/api/2.0/mlflow/registered-models/alias?{query}")
    header = authorization(settings)
    if header is not None:
        request.add_header("Authorization", header)
    workspace = os.environ.get(WORKSPACE_VARIABLE)
    if workspace:
        request.add_header("X-MLFLOW-WORKSPACE", workspace)
    try:
        with urllib.request.urlopen(request, timeout=PROBE_TIMEOUT_S, context=_certificates()) as answer:
            return int(json.load(answer)["model_version"]["version"])
    except urllib.error.HTTPError as error:
        if _says_there_is_none(error):
            return None
        raise TrackingUnreachable(uri, f"{error.code} {error.reason}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrackingUnreachable(uri, getattr(error, "reason", None) or error) from error


def _says_there_is_none(error: urllib.error.HTTPError) -> bool:
    try:
        told = json.load(error)
    except ValueError:
        return False
    code = told.get("error_code") if isinstance(told, dict) else None
    return code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE") and "not found" in str(told).lower()


def _certificates() -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH") or None)
    if os.environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in ("1", "true"):
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _by_mlflow(settings: Settings, name: str, alias: str) -> int | None:
    from mlflow.exceptions import MlflowException

    from packshot.registry.tracking import client, reaching

    mlflow_client = client(settings)
    try:
        with reaching(tracking_uri(settings)):
            return int(mlflow_client.get_model_version_by_alias(name, alias).version)
    except MlflowException as error:
        if (
            error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
            and "not found" in str(error).lower()
        ):
            return None
        raise


def in_words(number: int | None) -> str:
    """A version number, or that there is none."""
    return "no version" if number is None else f"version {number}"
