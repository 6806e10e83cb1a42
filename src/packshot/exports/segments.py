"""Segments for advertising, and how brands stand, by style."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from packshot.config import ScoringSettings, Settings
from packshot.exports.copies import copies_in
from packshot.exports.output import folder_export
from packshot.exports.source import NothingToExport, VerdictFile
from packshot.exports.styles import UNKNOWN
from packshot.progress import say
from packshot.scoring.decisions import SHOWN
from packshot.spreadsheet import write_csv

KIND = "segments"
SEGMENTS, BRANDS = "segments.csv", "brands.csv"
SEGMENT_COLUMNS = ("style", "category", "band", "images", "share", "mean_quality", "example_skus")
BRAND_COLUMNS = (
    *("brand", "style", "images", "share", "catalogue_share", "against_catalogue", "mean_quality"),
    *("brand_images", "brand_shown"),
)
_READ = (
    *("path", "sku", "category", "style", "style_confidence", "quality", "quality_after", "decision"),
    *("duplicate_of", "error"),
)


@dataclass
class Group:
    """Pictures that belong together, the sum of their qualities, and the SKUs of the best of them."""

    images: int = 0
    quality: float = 0.0
    best: list[tuple[float, str]] = field(default_factory=list)

    def meet(self, quality: float, sku: str | None, most: int) -> None:
        """Count one more picture; remember its SKU among the best `most`, each once."""
        self.images += 1
        self.quality += quality
        if sku is not None:
            kept = {name: value for value, name in self.best}
            kept[sku] = min(kept.get(sku, 0.0), -quality)
            self.best = sorted((value, name) for name, value in kept.items())[:most]

    @property
    def mean(self) -> float:
        """Mean quality, 0..1."""
        return self.quality / self.images


@dataclass
class Brand:
    """A brand's pictures by style, and how many of them may be shown."""

    styles: dict[str, Group] = field(default_factory=dict)
    shown: int = 0

    @property
    def images(self) -> int:
        """How many there are."""
        return sum(group.images for group in self.styles.values())


def write_segments(
    settings: Settings, files: Sequence[VerdictFile], out: Path, brands: Mapping[str, str | None] | None = None
) -> dict[str, Any]:
    """Write segments.csv over the pictures to show, and brands.csv over all judged ones where `brands` (path to brand)
    are known, into the folder `out`. Duplicates count in neither.

    Raises NothingToExport where no picture may be shown and no brand is known, OutputNotOurs.
    """
    segments: dict[tuple[str, str, str], Group] = {}
    known: dict[str, Brand] = {}
    copies = copies_in(files)
    for row in (row for file in files for row in copies.each(file, _READ)):
        if row["error"] is not None or row["duplicate_of"] is not None or row["quality"] is None:
            continue
        style, quality, most = _style(settings, row), shown_quality(row), settings.exports.examples
        if row["decision"] in SHOWN:
            key = (style, row["category"] or UNKNOWN, band_of(quality, settings.scoring))
            segments.setdefault(key, Group()).meet(quality, row["sku"], most)
        brand = (brands or {}).get(row["path"])
        if brand is not None:
            found = known.setdefault(brand, Brand())
            found.styles.setdefault(style, Group()).meet(quality, row["sku"], most)
            found.shown += row["decision"] in SHOWN
    if not segments and not known:
        raise NothingToExport("no picture was accepted or enhanced, so there is no segment")
    if brands is not None and not known:
        say("the catalogue names no brand for any of the pictures; is `path` the one of the verdicts?")
    with folder_export(out, KIND, files) as building:
        write_csv(building / SEGMENTS, SEGMENT_COLUMNS, _segment_rows(segments))
        if brands is not None:
            write_csv(building / BRANDS, BRAND_COLUMNS, _brand_rows(known))
    record = {"segments": len(segments), "images": sum(group.images for group in segments.values()), "out": str(out)}
    return record | ({"brands": len(known)} if brands is not None else {})


def shown_quality(row: Mapping[str, Any]) -> float:
    """Quality, 0..1, of the picture that stands for the row: the enhanced one where that is kept."""
    kept = row["decision"] == "enhance" and row["quality_after"] is not None
    return float(row["quality_after"] if kept else row["quality"])


def band_of(quality: float, rules: ScoringSettings) -> str:
    """`high` from scoring.accept_at, `low` below scoring.reject_below, `middle` between."""
    if quality >= rules.accept_at:
        return "high"
    return "low" if quality < rules.reject_below else "middle"


def _style(settings: Settings, row: Mapping[str, Any]) -> str:
    sure = (row["style_confidence"] or 0.0) >= settings.exports.min_style_confidence
    return row["style"] if sure and row["style"] is not None else UNKNOWN


def _segment_rows(segments: Mapping[tuple[str, str, str], Group]) -> Iterator[dict[str, Any]]:
    total = sum(group.images for group in segments.values())
    for (style, category, band), group in sorted(segments.items()):
        facts = {"style": style, "category": category, "band": band, "images": group.images}
        skus = " | ".join(sku for _, sku in group.best)
        yield facts | {"share": group.images / total, "mean_quality": group.mean, "example_skus": skus}


def _brand_rows(brands: Mapping[str, Brand]) -> Iterator[dict[str, Any]]:
    total = sum(brand.images for brand in brands.values())
    overall: dict[str, int] = {}
    for brand in brands.values():
        for style, group in brand.styles.items():
            overall[style] = overall.get(style, 0) + group.images
    for name, brand in sorted(brands.items()):
        for style, group in sorted(brand.styles.items()):
            share, usual = group.images / brand.images, overall[style] / total
            figures = {"share": share, "catalogue_share": usual, "against_catalogue": share / usual}
            facts = {"brand": name, "style": style, "images": group.images, "mean_quality": group.mean}
            yield facts | figures | {"brand_images": brand.images, "brand_shown": brand.shown / brand.images}
