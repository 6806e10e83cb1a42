"""Issues as Amazon's Listings Items API (2021-08-01) gives them with a listing."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from packshot.exports.issues import READABLE, Asked, check_record
from packshot.scoring.contract import Check

ATTRIBUTE = "main_product_image_locator"
CATEGORY = "INVALID_IMAGE"
REFUSED = frozenset({READABLE, "format", "file_size", "longest_side"})
"""Rules of the file itself: what breaks them is not taken as a value of the attribute; the others hide the listing."""

AmazonSeverity = Literal["ERROR", "WARNING", "INFO"]
AmazonAction = Literal["SEARCH_SUPPRESSED", "ATTRIBUTE_SUPPRESSED"]


class AmazonIssue(BaseModel):
    """One issue of a listing's main picture; what Packshot adds stands in `check` and `requirement`."""

    model_config = ConfigDict(frozen=True)

    code: str
    message: str
    severity: AmazonSeverity
    attributeNames: tuple[str, ...] = (ATTRIBUTE,)  # noqa: N815
    categories: tuple[str, ...] = (CATEGORY,)
    enforcements: dict[str, Any]
    check: dict[str, Any]
    requirement: dict[str, Any] | None


def amazon_shape(check: Check, asked: Asked | None) -> dict[str, Any]:
    """A failed check as an issue. Amazon publishes no list of its codes, so the code is the rule's name."""
    actions = [{"action": action} for action in _actions(check, asked)]
    return AmazonIssue(
        code=check.rule,
        message=check.advice or check.rule,
        severity=_severity(check),
        enforcements={"actions": actions, "exemption": {"status": "NOT_EXEMPT"}},
        **check_record(check, asked),
    ).model_dump(mode="json")


def _severity(check: Check) -> AmazonSeverity:
    if check.severity == "reject":
        return "ERROR"
    return "WARNING" if check.severity == "review" else "INFO"


def _actions(check: Check, asked: Asked | None) -> tuple[AmazonAction, ...]:
    """What Amazon is likely to do where one of its own requirements is surely broken."""
    if check.severity != "reject" or (asked is None and check.rule != READABLE):
        return ()
    return ("ATTRIBUTE_SUPPRESSED",) if check.rule in REFUSED else ("SEARCH_SUPPRESSED",)
