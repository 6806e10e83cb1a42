"""Issues as Google's Merchant API gives them with a product's status (`itemLevelIssues`)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from packshot.exports.issues import READABLE, Asked, Shape, check_record
from packshot.scoring.contract import Check

DESTINATION = "SHOPPING_ADS"
ATTRIBUTE = "image link"
CODES = {
    "overlay": "image_unwanted_overlays",
    "banner": "image_unwanted_overlays",
    "laid_over": "image_unwanted_overlays",
    "border": "image_unwanted_overlays",
    "framed": "image_unwanted_overlays",
    "shortest_side": "image_too_small",
    "longest_side": "image_too_small",
    "megapixels": "image_too_big",
    "file_size": "image_too_big",
    "format": "image_decoding_error",
    "low_information": "image_single_color",
    READABLE: "image_decoding_error",
}
"""Google's code for what a rule asks. The other rules have none: theirs is `packshot_RULE`."""

GoogleSeverity = Literal["DISAPPROVED", "DEMOTED", "NOT_IMPACTED"]


class GoogleIssue(BaseModel):
    """One issue of a product's picture; what Packshot adds stands in `check` and `requirement`."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    code: str
    severity: GoogleSeverity
    """What it does to the product: not shown, shown less, nothing."""
    attribute: str = ATTRIBUTE
    destination: str = DESTINATION
    resolution: Literal["merchant_action"] = "merchant_action"
    description: str
    """What is asked."""
    detail: str
    """What to do."""
    documentation: str | None
    """The help page; null where the bound is the shop's own."""
    check: dict[str, Any]
    requirement: dict[str, Any] | None


def google_shape(destination: str = DESTINATION) -> Shape:
    """Failed checks as issues for one destination (a `reportingContext` of the Merchant API)."""

    def shape(check: Check, asked: Asked | None) -> dict[str, Any]:
        return GoogleIssue(
            code=CODES.get(check.rule, f"packshot_{check.rule}"),
            severity=severity(check, asked),
            destination=destination,
            description=asked.asks if asked else f"{check.rule.replace('_', ' ').capitalize()}: a bound of the shop",
            detail=check.advice or "",
            documentation=asked.source.address if asked else None,
            **check_record(check, asked),
        ).model_dump()

    return shape


def severity(check: Check, asked: Asked | None) -> GoogleSeverity:
    """What Google is likely to do: a bound that is the shop's own, and has no code of Google's, impacts nothing."""
    if asked is None and check.rule not in CODES:
        return "NOT_IMPACTED"
    if check.severity == "reject":
        return "DISAPPROVED"
    return "DEMOTED" if check.severity == "review" else "NOT_IMPACTED"
