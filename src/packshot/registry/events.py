"""What the ledger's entries are: one type for each kind, so that no reader compares strings or guesses at keys.

An entry is parsed by its `kind`. Keys of a payload that a type does not name, of an older or a newer Packshot, are
kept; a kind that is not known here is an error, since it may have changed the champion.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

VERSION_COLUMNS = {"model_name", "from_version", "to_version", "run_id", "data_rev", "code_rev", "params_hash"}
RUNS = ("retrain", "score", "drift")
"""Work with a model that changes no version: entered for what it found and what it cost."""


class Payload(BaseModel):
    """What every entry may say beside its columns."""

    model_config = ConfigDict(frozen=True, extra="allow")

    airflow: str | None = None
    """The page of the Airflow task that wrote it."""
    cost: dict[str, Any] | None = None
    failure: str | None = None
    note: str | None = None
    reason: str | None = None
    outcome: str | None = None
    batch: str | None = None


class RegisteredPayload(Payload):
    """Which files were registered."""

    bundle_sha256: str | None = None
    model_sha256: str | None = None
    """Of all files of the logged model, its code included; an older Packshot wrote down the bundle alone."""


class GatePayload(Payload):
    """What the gates said, each as `GateResult.as_record`."""

    challenger: int | None = None
    champion: int | None = None
    gates: tuple[dict[str, Any], ...] = ()


class ApprovalPayload(Payload):
    """`outcome` is approved or rejected; `account`: the operating system's user who wrote it."""

    started_by: str | None = None
    account: str | None = None


class IntentPayload(Payload):
    """The gates that allowed a promotion, or what was asked of a rollback."""

    gates: tuple[dict[str, Any], ...] = ()
    asked_for: int | None = None


class MovePayload(Payload):
    """Which intent is carried out, and whether a kill came in between."""

    intent: int | None = None
    healed: bool = False


class ShadowPayload(Payload):
    """How far a version is in shadow."""

    state: Literal["begun", "complete", "ended"]


class ReconcilePayload(Payload):
    """Which finding an event was sent again for."""

    condition: str
    subject: str
    event: str | None = None


class DriftPayload(Payload):
    """What a check of a batch found."""

    alarm: bool | None = None
    p_value: float | None = None
    in_cooldown: bool | None = None
    report: str | None = None


class DriftResponsePayload(Payload):
    """Whether alarms start a training."""

    retrain: bool = False
    batches: tuple[str, ...] = ()


class ShopScalePayload(Payload):
    """Which scale, for the bundle of which digest, and what it showed on labels left out."""

    state: Literal["refused", "in_force", "withdrawn"]
    scale_sha256: str
    """Of the scale's file."""
    bundle_sha256: str
    labels_sha256: str
    labels: int
    figures: dict[str, Any] = {}


class ForgottenPayload(Payload):
    """How many pictures, and how many of other batches had given way to one of them."""

    pictures: int = 0
    displaced_elsewhere: int = 0


class ReviewedPayload(Payload):
    """What a person decided on a picture at the desk; `reason` is that of a rejection.

    `seen` is the entry about the picture that the person knew of, 0 where they knew of none: where an entry between
    that one and this exists, two people decided beside each other.
    """

    item: str
    """The picture: `packshot.service.review.item_id` of batch, path and content."""
    path: str
    image_id: str | None = None
    outcome: Literal["accept", "enhance", "reject", "undo"]
    score: float | None = None
    style: str | None = None
    """What the picture's score, 0 to 1, and its style are for that person, where they said so."""
    seen: int = 0
    token: str
    """Made up by who sends the decision: sent twice, it is one."""


class TaskFailedPayload(Payload):
    """Which task of which run failed for good."""

    dag: str
    run: str
    task: str
    attempt: int


class NoticePayload(Payload):
    """Which notice was sent to which notifier."""

    key: str
    to: str


class Event(BaseModel):
    """The columns of an entry; `at` is ISO, UTC."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: int = 0
    at: str
    actor: str
    model_name: str | None = None
    from_version: int | None = None
    to_version: int | None = None
    run_id: str | None = None
    data_rev: str | None = None
    code_rev: str | None = None
    params_hash: str | None = None

    def version_columns(self) -> dict[str, Any]:
        """The model, the versions and what they were made from: what the entries of one move have in common."""
        return self.model_dump(include=VERSION_COLUMNS)

    @property
    def time(self) -> datetime:
        """When it was written, UTC."""
        return datetime.fromisoformat(self.at).astimezone(UTC)


class Registered(Event):
    """A version came into being."""

    kind: Literal["register"]
    payload: RegisteredPayload


class Gated(Event):
    """The gates decided about a version."""

    kind: Literal["gate"]
    payload: GatePayload


class HeldoutUsed(Event):
    """The held-out rows of a data revision decided about a promotion."""

    kind: Literal["heldout_use"]
    payload: Payload


class Refused(Event):
    """A version was not made champion."""

    kind: Literal["refused"]
    payload: Payload


class Approval(Event):
    """A person answered whether a version shall become champion; the actor is who answered."""

    kind: Literal["approval"]
    payload: ApprovalPayload


class Intent(Event):
    """A move of the alias begins."""

    kind: Literal["intent", "rollback_intent"]
    payload: IntentPayload

    @property
    def rollback(self) -> bool:
        """Whether it goes back to an earlier champion."""
        return self.kind == "rollback_intent"


class Moved(Event):
    """The alias has moved."""

    kind: Literal["moved", "rollback_moved"]
    payload: MovePayload


class Committed(Event):
    """A version is champion from here on; of an adoption it may be none."""

    kind: Literal["committed", "rollback_committed", "adopted"]
    payload: MovePayload

    @property
    def rollback(self) -> bool:
        """Whether it took the champion before it back."""
        return self.kind == "rollback_committed"


class Shadowed(Event):
    """A version enters, completes or leaves the shadow beside a champion (`from_version`)."""

    kind: Literal["shadow"]
    payload: ShadowPayload


class Reconciled(Event):
    """A lost event was sent again."""

    kind: Literal["reconcile"]
    payload: ReconcilePayload


class Retrained(Event):
    """Training was asked for, or came to an end."""

    kind: Literal["retrain"]
    payload: Payload


class Scored(Event):
    """A batch, or part of one, was scored."""

    kind: Literal["score"]
    payload: Payload


class DriftChecked(Event):
    """A batch was checked for drift."""

    kind: Literal["drift"]
    payload: DriftPayload


class DriftAnswered(Event):
    """It was decided whether alarms start a training."""

    kind: Literal["drift_response"]
    payload: DriftResponsePayload


class Labelled(Event):
    """Labels came in, or the champion was held to its promise by them."""

    kind: Literal["labels"]
    payload: Payload


class ShopScaled(Event):
    """A shop's own scale was refused, decides from here on, or does no longer."""

    kind: Literal["shop_scale"]
    payload: ShopScalePayload


class Forgotten(Event):
    """The pictures of a batch were taken out of those that the shop knows."""

    kind: Literal["forgotten"]
    payload: ForgottenPayload


class Reviewed(Event):
    """A person decided on a picture, or took a decision back; the actor is the name of their key."""

    kind: Literal["reviewed"]
    payload: ReviewedPayload


class TaskFailed(Event):
    """A task of a DAG failed for good."""

    kind: Literal["task_failed"]
    payload: TaskFailedPayload


class Noticed(Event):
    """Somebody was told of an entry."""

    kind: Literal["notice"]
    payload: NoticePayload


AnyEvent = Annotated[
    Registered
    | Gated
    | HeldoutUsed
    | Refused
    | Approval
    | Intent
    | Moved
    | Committed
    | Shadowed
    | Reconciled
    | Retrained
    | Scored
    | DriftChecked
    | DriftAnswered
    | Labelled
    | ShopScaled
    | Forgotten
    | Reviewed
    | TaskFailed
    | Noticed,
    Field(discriminator="kind"),
]
KINDS: frozenset[str] = frozenset(
    kind for event in get_args(get_args(AnyEvent)[0]) for kind in get_args(event.model_fields["kind"].annotation)
)
_EVENT: TypeAdapter[AnyEvent] = TypeAdapter(AnyEvent)


def parse(entry: Mapping[str, Any]) -> AnyEvent:
    """The event of one entry with its payload decoded. Raises pydantic's ValidationError."""
    return _EVENT.validate_python(entry)
