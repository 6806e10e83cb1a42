"""Which column of a shop's table is which: by the name in `params.yaml`, by ours, or by what shops commonly call it."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

CLOSE = 0.75
"""Similarity (difflib's ratio) from which a column is taken for a misspelling."""
KNOWN: Mapping[str, tuple[str, ...]] = {
    "path": (
        *("image_path", "file_path", "image_file", "filename", "file_name", "file", "image", "image_name", "picture"),
        *("photo", "img", "bild", "bilddatei", "bildname", "dateiname", "datei", "pfad"),
    ),
    "sku": (
        *("sku_id", "product_id", "product_sku", "product_code", "item_id", "item_sku", "item_number", "item_no"),
        *("article", "article_id", "article_number", "article_no", "variant_sku", "asin", "artikel", "artikelnummer"),
    ),
    "sender": (
        *("seller", "seller_id", "seller_name", "vendor", "vendor_id", "vendor_name", "supplier", "supplier_id"),
        *("supplier_name", "merchant", "merchant_id", "lieferant", "brand", "brand_name", "marke"),
    ),
    "title": ("name", "product_name", "product_title", "item_name", "titel", "produktname"),
    "description": ("product_description", "item_description", "desc", "beschreibung"),
    "category": ("product_category", "product_type", "category_name", "categories", "kategorie"),
    "tags": ("tag", "keywords"),
}
"""Names that are taken for ours where there is no such column, the surest first."""
UNCLEAR: Mapping[str, tuple[str, ...]] = {
    "path": ("image_link", "image_url", "image_src", "url", "link"),
    "sku": ("id", "ean", "gtin", "upc", "barcode", "mpn", "handle"),
    "sender": ("manufacturer", "shop", "store", "owner"),
    "quality_mos": ("mos", "quality", "quality_score", "score", "rating"),
    "style": ("look",),
}
"""Names that may mean ours as well as something else: they are named, not taken."""
LABELS = ("quality_mos", "style")
"""What is learned from: a misspelling of these costs a training, so it is refused rather than passed over."""


@dataclass(frozen=True)
class Columns:
    """Where each of our columns stands in a file, and what is to be said of how it was found."""

    places: Mapping[str, int]
    unused: tuple[str, ...]
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    """Why the file cannot be used, where it cannot."""


@dataclass
class _Search:
    header: Sequence[str]
    mapped: Mapping[str, str]
    places: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def spare(self) -> Iterator[tuple[int, str]]:
        """The columns that are nobody's yet."""
        taken = set(self.places.values())
        return ((place, name) for place, name in enumerate(self.header) if name and place not in taken)


def find_columns(header: Sequence[str], mapped: Mapping[str, str], wanted: Iterable[str]) -> Columns:
    """Find our columns `wanted` in a header; `mapped` is `catalog.columns` of params.yaml (ours to theirs).

    Upper and lower case, spaces, `_` and `-` do not count. `path` must be there; the others may be missing.
    """
    wanted = tuple(wanted)
    search = _Search(header, mapped)
    for ours in wanted:
        _by_name(search, ours)
    for ours in wanted:
        if ours not in search.places:
            _by_what_shops_say(search, ours)
    for ours in wanted:
        if ours not in search.places:
            _say_missing(search, ours)
    unused = tuple(name for _, name in search.spare())
    return Columns(search.places, unused, tuple(search.notes), tuple(search.problems))


def place_of(header: Sequence[str], name: str) -> int | None:
    """The column of that name: spelt so, else but for case, spaces, `_` and `-`; the first of several."""
    return next(iter(_places(header, name)), None)


def _places(header: Iterable[str], name: str) -> list[int]:
    """Columns of that name, those spelt exactly so first."""
    alike = [place for place, theirs in enumerate(header) if theirs and folded(theirs) == folded(name)]
    exact = [place for place, theirs in enumerate(header) if theirs == name]
    return list(dict.fromkeys([*exact, *alike]))


def folded(name: str) -> str:
    """A column's name as it is compared."""
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", name).casefold())


def _by_name(search: _Search, ours: str) -> None:
    theirs = search.mapped.get(ours, ours)
    found = _places(search.header, theirs) or _places(search.header, ours)
    if not found:
        return
    search.places[ours] = found[0]
    if len(found) > 1:
        names = " and ".join(repr(search.header[place]) for place in found)
        search.notes.append(f"{names} are both {ours}; {search.header[found[0]]!r} in column {found[0] + 1} is read")


def _by_what_shops_say(search: _Search, ours: str) -> None:
    order = {folded(name): rank for rank, name in enumerate(KNOWN.get(ours, ()))}
    found = sorted((order[folded(name)], place) for place, name in search.spare() if folded(name) in order)
    if not found:
        return
    names = [search.header[place] for _, place in found]
    others = f", not {', '.join(map(repr, names[1:]))}" if len(names) > 1 else ""
    if ours == "path" and others:
        search.problems.append(
            f"column 'path' (the image file) is missing, and it may be any of {', '.join(map(repr, names))}"
        )
        return
    search.places[ours] = found[0][1]
    search.notes.append(f"{names[0]!r} is read as {ours}{others}")


def _say_missing(search: _Search, ours: str) -> None:
    theirs = search.mapped.get(ours, ours)
    if ours == "path":
        if not any(problem.startswith("column 'path'") for problem in search.problems):
            search.problems.append(f"column {theirs!r} (the image file) is missing{_hint(search, ours, theirs)}")
    elif theirs != ours:
        search.problems.append(
            f"column {theirs!r}, mapped to {ours!r} in params.yaml, is missing{_hint(search, ours, theirs)}"
        )
    elif hint := _hint(search, ours, theirs):
        told = search.problems if ours in LABELS and "mean" in hint else search.notes
        told.append(f"column {ours!r} is missing{hint}")


def _hint(search: _Search, ours: str, theirs: str) -> str:
    spare = {folded(name): name for _, name in search.spare()}
    close = difflib.get_close_matches(folded(theirs), list(spare), n=1, cutoff=CLOSE)
    if close:
        return f"; did you mean {spare[close[0]]!r}?"
    unclear = [spare[folded(name)] for name in UNCLEAR.get(ours, ()) if folded(name) in spare]
    return f"; it may be {' or '.join(map(repr, unclear))}, which is not read" if unclear else ""
