"""Work that leaves in the ledger what it cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from packshot.config import Settings
from packshot.cost import as_record, metered
from packshot.progress import say

LONGEST_FAILURE = 500


@contextmanager
def charged(settings: Settings, kind: str, *, payload: Mapping[str, Any], **fields: Any) -> Iterator[dict[str, Any]]:
    """Meter the block, then write one ledger entry of `kind` with its cost, also where it fails.

    Yields the payload of that entry, for the block to add to. A ledger that cannot be written is said in the log: the
    work stands without it.
    """
    from packshot.registry.ledger import Ledger, LedgerError

    told = dict(payload)
    with metered() as meter:
        try:
            yield told
        except BaseException as error:
            told["failure"] = f"{type(error).__name__}: {error}"[:LONGEST_FAILURE]
            raise
        finally:
            told["cost"] = as_record(meter.so_far(), settings.cost)
            try:
                Ledger.from_environment().record(kind, payload=told, **fields)
            except LedgerError as error:
                say(f"the cost of this {kind} is not in the ledger: {error}")
