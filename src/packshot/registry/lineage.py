"""Which model it is, and from what it was made: the same six facts in verdicts, ledger and MLflow."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from packshot.errors import PackshotError
from packshot.revision import RunKey


class LineageUnknown(PackshotError):
    """A model carries no lineage."""


@dataclass(frozen=True)
class Lineage:
    """A registered version; of a bundle that is only a path all but the name are None."""

    model_name: str
    model_version: int | None = None
    run_id: str | None = None
    data_rev: str | None = None
    code_rev: str | None = None
    params_hash: str | None = None

    def label(self) -> str:
        """The model in words."""
        return f"{self.model_name} version {self.model_version}" if self.model_version else f"{self.model_name} bundle"

    def entry(self) -> dict[str, Any]:
        """The columns of a ledger entry about this version."""
        facts = asdict(self)
        return {"to_version": facts.pop("model_version"), **facts}

    @property
    def key(self) -> RunKey:
        """The run key. Raises LineageUnknown where it is not on record what the model was made from."""
        if self.data_rev is None or self.code_rev is None or self.params_hash is None:
            raise LineageUnknown(
                f"{self.model_name} version {self.model_version} does not say what data, code and parameters it was "
                "made from; register it with `packshot register`"
            )
        return RunKey(self.data_rev, self.code_rev, self.params_hash)


LINEAGE = tuple(Lineage.__dataclass_fields__)
"""The names of the facts, which are columns of verdicts too."""
