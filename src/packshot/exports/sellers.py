"""What each seller has to fix: one table over all, and a page to send to each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from packshot.config import ExportSettings
from packshot.exports.output import folder_export, own_name
from packshot.exports.previews import kept_previews
from packshot.exports.source import VerdictFile
from packshot.faults.kinds import KINDS
from packshot.files import write_text
from packshot.scoring.decisions import reason_code
from packshot.scoring.faults import is_fixed
from packshot.serving.batches import REASONS
from packshot.spreadsheet import write_csv

KIND = "sellers"
TABLE, PICTURES, INDEX = "sellers.csv", "pictures.csv", "index.html"
COLUMNS = ("seller", "fault", "what", "images", "share", "seller_images", "example_paths", "example_skus")
PICTURE_COLUMNS = ("seller", "sku", "batch_id", "path", "decision", "fault", "sentence")
NOBODY = "(no seller named)"
OURS = frozenset(
    {"uncertain", "not_a_number", "not_judged", "not_enhanced", "no_gain", "changed_too_much", "colour_changed"}
    | {"worse_sharpness", "worse_colour_balance", "worse_detail", "still_poor"}
)
"""Reasons that tell of the judge and the enhancer, and give a seller nothing to mend."""
_READ = ("sender", "sku", "batch_id", "path", "decision", "reasons", "findings", "quality", "error")


@dataclass(frozen=True)
class Example:
    """A picture with a fault; the worst is the first in order."""

    quality: float
    batch_id: str
    path: str
    sku: str | None
    sentence: str


@dataclass
class Fault:
    """One thing to fix: how many pictures have it, and the worst of them."""

    code: str
    what: str
    images: int = 0
    examples: list[Example] = field(default_factory=list)

    def meet(self, example: Example, most: int) -> None:
        """Count one more picture and keep the worst `most`."""
        self.images += 1
        self.examples.append(example)
        self.examples.sort(key=lambda one: (one.quality, one.path, one.batch_id))
        del self.examples[most:]


@dataclass
class Seller:
    """One seller's pictures by decision, and what to fix."""

    name: str
    decisions: Counter[str] = field(default_factory=Counter)
    faults: dict[str, Fault] = field(default_factory=dict)

    @property
    def images(self) -> int:
        """How many pictures came from the seller."""
        return self.decisions.total()

    @property
    def to_fix(self) -> list[Fault]:
        """The commonest first."""
        return sorted(self.faults.values(), key=lambda fault: (-fault.images, fault.code))

    @property
    def page(self) -> str:
        """The name of the seller's page."""
        return f"{own_name(self.name)}.html"


def write_sellers(rules: ExportSettings, files: Sequence[VerdictFile], out: Path) -> dict[str, Any]:
    """Write sellers.csv, pictures.csv (a row for each fault of each picture), index.html and a page for each seller.

    A picture's faults are its findings and, where it was not accepted, those other reasons of its decision that a
    seller can mend.
    """
    sellers: dict[str, Seller] = {}
    with folder_export(out, KIND, files) as building:
        found = write_csv(building / PICTURES, PICTURE_COLUMNS, _counted(files, sellers, rules.examples))
        known = [sellers[name] for name in sorted(sellers)]
        write_csv(building / TABLE, COLUMNS, table_rows(known))
        environment = _environment()
        shown = {(one.batch_id, one.path) for seller in known for fault in seller.to_fix for one in fault.examples}
        with kept_previews(files, shown) as preview:
            for seller in known:
                page = environment.get_template("seller.html").render(seller=seller, preview=preview)
                write_text(building / seller.page, page)
        write_text(building / INDEX, environment.get_template("sellers.html").render(sellers=known))
    return {"sellers": len(known), "table": str(out / TABLE), "pages": str(out / INDEX), "faults": found}


def sellers_of(rules: ExportSettings, files: Sequence[VerdictFile]) -> list[Seller]:
    """All sellers by name, with what each has to fix. Raises VerdictsUnreadable."""
    sellers: dict[str, Seller] = {}
    for _ in _counted(files, sellers, rules.examples):
        pass
    return [sellers[name] for name in sorted(sellers)]


def table_rows(sellers: Iterable[Seller]) -> Iterator[dict[str, Any]]:
    """Rows of COLUMNS: one for each fault of each seller."""
    return (row for seller in sellers for row in _rows(seller))


def picture_rows(files: Sequence[VerdictFile], seller: str) -> Iterator[dict[str, Any]]:
    """Rows of PICTURE_COLUMNS about one seller's pictures. Raises VerdictsUnreadable."""
    return (row for row in _counted(files, {}, 1) if row["seller"] == seller)


def faults_of(row: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Code and sentence of everything to fix in one picture, each code once, findings first."""
    found: dict[str, str] = {}
    for finding in row["findings"] or ():
        found.setdefault(finding["rule"], finding["sentence"])
    for reason in row["reasons"] if row["decision"] != "accept" else ():
        code = reason_code(reason)
        if code in KINDS:
            if not is_fixed(reason):
                found.setdefault(code, KINDS[code].sentence)
        elif code not in OURS:
            found.setdefault(code, f"{_what(code)}{reason.removeprefix(code)}")
    yield from found.items()


def _counted(files: Sequence[VerdictFile], sellers: dict[str, Seller], most: int) -> Iterator[dict[str, Any]]:
    """Rows of the table of pictures, counting them for their sellers on the way."""
    for row in (row for file in files for row in file.each(_READ)):
        seller = sellers.setdefault(row["sender"] or NOBODY, Seller(row["sender"] or NOBODY))
        seller.decisions[row["decision"]] += 1
        quality = -1.0 if row["quality"] is None else row["quality"]
        for code, sentence in faults_of(row):
            fault = seller.faults.setdefault(code, Fault(code, _what(code)))
            fault.meet(Example(quality, row["batch_id"], row["path"], row["sku"], sentence), most)
            facts = {name: row[name] for name in ("sku", "batch_id", "path", "decision")}
            yield facts | {"seller": seller.name, "fault": code, "sentence": sentence}


def _rows(seller: Seller) -> Iterator[dict[str, Any]]:
    for fault in seller.to_fix:
        skus = dict.fromkeys(example.sku for example in fault.examples if example.sku)
        yield {
            "seller": seller.name,
            "fault": fault.code,
            "what": fault.what,
            "images": fault.images,
            "share": fault.images / seller.images,
            "seller_images": seller.images,
            "example_paths": " | ".join(example.path for example in fault.examples),
            "example_skus": " | ".join(skus),
        }


def _what(code: str) -> str:
    return REASONS.get(code, code.replace("_", " ").capitalize())


def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("packshot.exports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
