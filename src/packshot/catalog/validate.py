"""Validate: judge every row and every image file, quarantine what fails with its reason, refuse a bad batch.

Great Expectations judges four tables, each a page of the Data Docs: `images` (rows and what their files really
are), `duplicates` (rows that passed, against each other), `styles` (class balance; a warning) and `batch` (the share
that was quarantined; decides). Rows in = rows valid + rows quarantined, or nothing is written as valid.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from packshot.catalog.collect import IMAGES, MANIFEST
from packshot.catalog.decoding.attempts import Attempts
from packshot.catalog.expectations import ROW, DataDocs, Outcome, Rule, data_docs
from packshot.catalog.image import ImageLimits
from packshot.catalog.manifest import (
    COLUMNS,
    INBOX,
    MADE_BY_SPLIT,
    QUARANTINE_COLUMNS,
    ManifestError,
    conform,
    write_manifest,
)
from packshot.catalog.probing import probe_files
from packshot.catalog.source_record import QUARANTINE, VALIDATION, SourceRecord, read_source
from packshot.config import Settings, ValidationSettings
from packshot.errors import PackshotError
from packshot.files import write_json, write_parquet
from packshot.progress import say

VALID = Path("data/valid/manifest.parquet")
ATTEMPTS = Path("data/valid/decoding.attempts")
"""Kept where a file was given up: it is not decoded again as long as it is the same."""
DOCS = Path("reports/validation")

SIGNATURE_COLUMNS = ("phash", "thumbnail")
"""Columns behind those of the manifest in VALID, so that splitting needs no second decoding."""


class BatchRefused(PackshotError):
    """Too large a share of the rows is bad; all outputs are written, and nothing may be trained on them."""

    exit_code = 65


class RowsLost(PackshotError):
    """Rows in are not rows valid plus rows quarantined: a defect, so nothing of the batch may be used."""

    exit_code = 70


@dataclass(frozen=True)
class ValidationReport:
    """What validation found. Counts are rows; `by_reason` has every code that occurred."""

    rows_in: int
    valid: int
    quarantined: int
    by_reason: dict[str, int]
    bad_share: float
    max_bad_share: float
    passed: bool
    """The batch may be used."""
    expectations: dict[str, dict[str, bool | int]]
    """Name to `held` and the number of rows that broke it."""
    warnings: tuple[str, ...]
    class_share: dict[str, float]
    """`source/style` to its share of the source's labelled images."""

    def as_record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}


def validate(settings: Settings, workspace: Path) -> ValidationReport:
    """Validate `data/raw` of `workspace`; writes `data/valid` and the Data Docs in `reports/validation`.

    Raises ManifestError for a manifest that is missing, empty or has wrong columns, and BatchRefused, after
    everything is written, where more than `validation.max_bad_share` of the rows, or every row, is bad.
    """
    source = read_source(workspace)
    raw = _read_raw(workspace / MANIFEST)
    limits = ImageLimits.from_settings(settings.validation)
    attempts = Attempts(workspace / ATTEMPTS)
    try:
        found = probe_files(raw["path"].tolist(), workspace / IMAGES, limits, settings.splits.hash_size, attempts)
    finally:
        attempts.close()
    if not attempts.gave_up:
        attempts.forget()
    table = pd.concat([raw, found], axis=1)
    table.insert(0, ROW, range(len(table)))
    with data_docs(workspace / DOCS, source.collected_at) as docs:
        judged = docs.check("images", _for_judging(table), _image_rules(settings, source))
        judged += _check_duplicates(docs, table, _broken_rows(judged))
        broken = _broken_rows(judged)
        valid = _valid_rows(table, broken)
        quarantine = _quarantine(table, judged, source.collected_at)
        class_share = _class_share(valid)
        batch_rules = _batch_rules(settings.validation)
        judged += _check_styles(docs, class_share, settings.validation)
        judged += docs.check("batch", _batch_facts(len(raw), len(valid)), batch_rules)
    if len(raw) != len(valid) + len(quarantine):
        raise RowsLost(
            f"{len(raw)} rows came in, {len(valid)} are valid and {len(quarantine)} quarantined; report this"
        )
    report = _report(settings.validation, judged, valid, quarantine, class_share)
    write_manifest(workspace / VALID, valid)
    write_parquet(workspace / QUARANTINE, quarantine)
    write_json(workspace / VALIDATION, report.as_record())
    _tell(report)
    if not report.passed:
        raise BatchRefused(_refusal(report))
    return report


def _read_raw(path: Path) -> pd.DataFrame:
    """The collected manifest, with `score_text`: a score that is no number, which Parquet or pandas would hide.

    File facts (width, height, format, bytes) are dropped: they are found again from the files themselves.
    """
    if not path.exists():
        raise ManifestError(f"{path} does not exist; run `packshot collect` first")
    try:
        stored = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise ManifestError(f"{path} cannot be read as Parquet: {error}") from error
    if stored.num_rows == 0:
        raise ManifestError(f"empty catalogue: {path} has no rows; collect at least one image")
    frame = stored.to_pandas()
    if "quality_mos" in frame.columns:
        frame["score_text"] = _not_numbers(stored.column("quality_mos"))
        frame["quality_mos"] = pd.to_numeric(frame["quality_mos"], errors="coerce")
    frame = conform(frame, where=str(path), optional=MADE_BY_SPLIT)
    extra = [name for name in frame.columns if name not in COLUMNS and name != "score_text"]
    return frame.drop(columns=extra)


def _not_numbers(scores: pa.ChunkedArray) -> list[str | None]:
    """For each score: None where it is null or a number, else what stands there, as text."""
    if pa.types.is_floating(scores.type):
        return ["NaN" if wrong else None for wrong in pc.is_nan(scores).to_pylist()]
    if pa.types.is_integer(scores.type) or pa.types.is_null(scores.type):
        return [None] * len(scores)
    values = scores.to_pylist()
    numbers = pd.to_numeric(pd.Series(values, dtype=object), errors="coerce")
    return [
        str(value) if value is not None and pd.isna(number) else None
        for value, number in zip(values, numbers, strict=True)
    ]


def _for_judging(table: pd.DataFrame) -> pd.DataFrame:
    judged = table.copy()
    sides = table[["found_width", "found_height"]].min(axis=1)
    judged["found_short_side"] = sides.astype("float64")
    return judged


def _image_rules(settings: Settings, source: SourceRecord) -> list[Rule]:
    limits = settings.validation
    sets = (*settings.profiles[source.profile].sets, INBOX)  # type: ignore[index]
    rules = [
        _not_null("path_given", "path", "missing_path", "A row names its image file."),
        _not_null("source_given", "source", "missing_source", "A row names the set it belongs to."),
        _in_set("source_known", "source", sets, "unknown_source", "The source is a set of the profile."),
        _null("file_readable", "unreadable", "", "The file lies below the image folder and decodes within the limits."),
        _in_set(
            "format_allowed", "found_format", limits.formats, "unsupported_format", "The content is an allowed format."
        ),
        _between(
            "side_long_enough",
            "found_short_side",
            (limits.min_side_px, None),
            "too_small",
            f"The shorter side has at least {limits.min_side_px} pixels.",
        ),
        Rule(
            "bytes_unchanged",
            "ExpectColumnPairValuesToBeEqual",
            {"column_A": "image_id", "column_B": "found_image_id", "ignore_row_if": "either_value_is_missing"},
            "changed_bytes",
            "The file's sha256 is the image_id of the row.",
        ),
        _null("score_is_number", "score_text", "score_not_a_number", "A score is a number or null."),
        _between("score_in_range", "quality_mos", (0.0, 1.0), "score_out_of_range", "A score is between 0 and 1."),
    ]
    styles = sorted({style for facts in source.sets.values() for style in facts.styles})
    if styles:
        rules.append(
            _in_set("style_known", "style", styles, "unknown_label", "The style is one that its source declares.")
        )
    return rules


def _not_null(name: str, column: str, reason: str, meaning: str) -> Rule:
    return Rule(name, "ExpectColumnValuesToNotBeNull", {"column": column}, reason, meaning)


def _null(name: str, column: str, reason: str, meaning: str) -> Rule:
    return Rule(name, "ExpectColumnValuesToBeNull", {"column": column}, reason, meaning)


def _in_set(name: str, column: str, allowed: Sequence[str], reason: str, meaning: str) -> Rule:
    arguments = {"column": column, "value_set": list(allowed)}
    return Rule(name, "ExpectColumnValuesToBeInSet", arguments, reason, meaning)


def _between(
    name: str,
    column: str,
    bounds: tuple[float | None, float | None],
    reason: str,
    meaning: str,
    *,
    warning: bool = False,
) -> Rule:
    arguments = {"column": column, "min_value": bounds[0], "max_value": bounds[1]}
    return Rule(name, "ExpectColumnValuesToBeBetween", arguments, reason, meaning, warning)


def _check_duplicates(docs: DataDocs, table: pd.DataFrame, broken: set[int]) -> list[Outcome]:
    """Rows that passed so far, against each other; the first of equals stays, by source and path."""
    passed = table[~table[ROW].isin(broken)].sort_values(["source", "path", ROW], kind="stable")
    if passed.empty:
        return []
    repeats = passed.duplicated(["source", "path"])
    same_bytes = passed.groupby(["source", "found_image_id"], sort=False)["path"].transform("first")
    again = passed.duplicated(["source", "found_image_id"]) & ~repeats
    checked = pd.DataFrame(
        {
            ROW: passed[ROW],
            "source": passed["source"],
            "path": passed["path"],
            "repeats": passed["path"].where(repeats, None),
            "same_bytes_as": same_bytes.where(again, None),
        }
    ).sort_values(ROW)
    rules = [
        _null("row_unique", "repeats", "repeated_row", "A source and path stand in one row; the first is kept."),
        _null("image_unique", "same_bytes_as", "duplicate", "An image stands once in its source; the first is kept."),
    ]
    return docs.check("duplicates", checked.reset_index(drop=True), rules)


def _class_share(valid: pd.DataFrame) -> dict[str, float]:
    labelled = valid[valid["style"].notna()]
    counts = Counter(zip(labelled["source"], labelled["style"], strict=True))
    totals = Counter(labelled["source"])
    return {f"{source}/{style}": round(counts[source, style] / totals[source], 6) for source, style in sorted(counts)}


def _check_styles(docs: DataDocs, class_share: dict[str, float], limits: ValidationSettings) -> list[Outcome]:
    if not class_share:
        return []
    table = pd.DataFrame({"style": list(class_share), "share": list(class_share.values())})
    table.insert(0, ROW, range(len(table)))
    meaning = f"Every style has at least {limits.min_class_share:.0%} of the labelled images of its source."
    rule = _between("styles_balanced", "share", (limits.min_class_share, None), "rare_style", meaning, warning=True)
    return docs.check("styles", table, [rule])


def _batch_facts(rows_in: int, valid: int) -> pd.DataFrame:
    share = (rows_in - valid) / rows_in
    return pd.DataFrame({ROW: [0], "rows_in": [rows_in], "rows_valid": [valid], "bad_share": [share]})


def _batch_rules(limits: ValidationSettings) -> list[Rule]:
    few = f"At most {limits.max_bad_share:.1%} of the rows are quarantined."
    return [
        _between("batch_good_enough", "bad_share", (0.0, limits.max_bad_share), "batch_refused", few),
        _between("batch_not_empty", "rows_valid", (1, None), "batch_refused", "At least one row is valid."),
    ]


def _broken_rows(outcomes: Sequence[Outcome]) -> set[int]:
    return {row for outcome in outcomes for row in outcome.broken}


def _valid_rows(table: pd.DataFrame, broken: set[int]) -> pd.DataFrame:
    valid = table[~table[ROW].isin(broken)].copy()
    for name in ("image_id", "width", "height", "format", "bytes"):
        valid[name] = valid[f"found_{name}"]
    return valid[[*COLUMNS, *SIGNATURE_COLUMNS]].reset_index(drop=True)


def _quarantine(table: pd.DataFrame, outcomes: Sequence[Outcome], at: str) -> pd.DataFrame:
    """One row for each bad row: the first expectation it broke, and the others named in `detail`."""
    by_row: dict[int, list[tuple[Rule, str]]] = {}
    for outcome in outcomes:
        for row, value in outcome.broken.items():
            by_row.setdefault(row, []).append((outcome.rule, value))
    bad = table[table[ROW].isin(by_row)].to_dict("records")
    records = [_quarantine_row(row, by_row[row[ROW]], at) for row in bad]
    return pd.DataFrame(records, columns=list(QUARANTINE_COLUMNS), dtype=object)


def _quarantine_row(row: dict[Any, Any], broken: list[tuple[Rule, str]], at: str) -> dict[str, str | None]:
    rule, value = broken[0]
    unreadable = row["unreadable_detail"] if rule.name == "file_readable" else None
    detail = rule.meaning if unreadable is None else f"{rule.meaning} Here: {unreadable}."
    if len(broken) > 1:
        detail += f" Also broken: {', '.join(also.name for also, _ in broken[1:])}."
    seen = row["path"] if rule.name == "file_readable" else value
    return {
        "image_id": row["found_image_id"] or row["image_id"],
        "path": row["path"],
        "source": row["source"],
        "expectation": rule.name,
        "reason": rule.reason or value,
        "value": seen,
        "detail": detail,
        "at": at,
    }


def _report(
    limits: ValidationSettings,
    outcomes: Sequence[Outcome],
    valid: pd.DataFrame,
    quarantine: pd.DataFrame,
    class_share: dict[str, float],
) -> ValidationReport:
    rows_in = len(valid) + len(quarantine)
    verdicts = [outcome for outcome in outcomes if outcome.rule.reason == "batch_refused"]
    rare = [style for style, share in class_share.items() if share < limits.min_class_share]
    return ValidationReport(
        rows_in=rows_in,
        valid=len(valid),
        quarantined=len(quarantine),
        by_reason=dict(sorted(Counter(quarantine["reason"]).items())),
        bad_share=round(len(quarantine) / rows_in, 6),
        max_bad_share=limits.max_bad_share,
        passed=bool(verdicts) and all(outcome.passed for outcome in verdicts),
        expectations={one.rule.name: {"held": one.held, "broken": len(one.broken)} for one in outcomes},
        warnings=tuple(f"{style} is rare: {class_share[style]:.1%} of its source's labelled images" for style in rare),
        class_share=class_share,
    )


def _tell(report: ValidationReport) -> None:
    reasons = ", ".join(f"{reason} {count}" for reason, count in report.by_reason.items())
    say(f"validate: {report.rows_in} rows in = {report.valid} valid + {report.quarantined} quarantined")
    if reasons:
        say(f"  quarantined: {reasons}; rows and reasons in {QUARANTINE}")
    for warning in report.warnings:
        say(f"  warning: {warning}")


def _refusal(report: ValidationReport) -> str:
    reasons = ", ".join(f"{reason} {count}" for reason, count in report.by_reason.items())
    return (
        f"batch refused: {report.quarantined} of {report.rows_in} rows are bad ({report.bad_share:.1%}; at most "
        f"{report.max_bad_share:.1%} may be, and at least one must be good): {reasons}. See {QUARANTINE} and "
        f"{DOCS / 'index.html'}; mend the catalogue, or raise validation.max_bad_share in params.yaml."
    )
