"""Labels as Label Studio's JSON: tasks with annotations, there and back.

A task is one picture. An annotation is what one person said of it, in results by the names `decision` and `style`
(choices), `quality` (a number, 0..1) and `who` (a text); other names are passed over.
Format: https://labelstud.io/guide/task_format
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from packshot.catalog.labels import VALUES, Label, Picture
from packshot.errors import PackshotError

COLUMNS = ("image_id", "path", "batch", *VALUES, "who", "when")
"""Of the table that `rows` makes: a file of labels as `LabelStore.add` takes it."""
TO_NAME = "image"
NUMBER, CHOICES, TEXT = "number", "choices", "textarea"
KINDS = {"decision": CHOICES, "style": CHOICES, "quality": NUMBER, "who": TEXT}
NAMED = {"decision": "decision", "style": "style", "quality": "quality_mos", "who": "who"}
"""Names of results, with the columns that they fill."""


class NotLabelStudio(PackshotError):
    """A file is no export of Label Studio, or an annotation says what no label can say."""

    exit_code = 65


class _Result(BaseModel):
    from_name: str = ""
    value: dict[str, Any] = {}


class _User(BaseModel):
    email: str = ""


class _Annotation(BaseModel):
    result: list[_Result] = []
    was_cancelled: bool = False
    created_at: str = ""
    updated_at: str = ""
    completed_by: int | _User | None = None

    @property
    def when(self) -> str:
        return self.updated_at or self.created_at


class _Data(BaseModel):
    image_id: str = ""
    path: str = ""
    batch: str = ""


class _Task(BaseModel):
    data: _Data
    annotations: list[_Annotation] = []


_TASKS = TypeAdapter(list[_Task])


def tasks(
    labels: Iterable[Label], waiting: Iterable[Picture], address: Callable[[Label | Picture], str]
) -> list[dict[str, Any]]:
    """A task for each labelled picture, with what holds of each person, and one without annotations for each of
    `waiting` that has no label. `address`: where Label Studio finds a picture."""
    newest: dict[str, Label] = {}
    said: dict[str, dict[str, dict[str, Any]]] = {}
    for label in labels:
        newest[label.image_id] = label
        one = said.setdefault(label.image_id, {}).setdefault(label.who, {"who": label.who})
        told = {name: getattr(label, column) for name, column in NAMED.items()}
        one.update({name: value for name, value in told.items() if value is not None}, when=label.when)
    found = [_task(label, address(label), said[image_id].values()) for image_id, label in newest.items()]
    open_ = {picture.image_id: picture for picture in waiting if picture.image_id not in newest}
    return [*found, *(_task(picture, address(picture), ()) for picture in open_.values())]


def rows(file: Path) -> list[dict[str, str]]:
    """What the annotations of an export say, a row with COLUMNS for each person and picture: the newest; those
    that were skipped, and those that say nothing by our names, are left out. Raises NotLabelStudio, OSError."""
    try:
        read = _TASKS.validate_json(file.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise NotLabelStudio(f"{file} is no export of Label Studio as JSON: {where}: {first['msg']}") from error
    found: dict[tuple[str, str, str, str], tuple[datetime, dict[str, str]]] = {}
    for number, task in enumerate(read, start=1):
        for when, row in _said(f"{file}, task {number}", task):
            key = row["image_id"], row["batch"], row["path"], row["who"]
            if key not in found or when >= found[key][0]:
                found[key] = when, row
    return [row for _, row in found.values()]


def _task(picture: Label | Picture, address: str, said: Iterable[dict[str, Any]]) -> dict[str, Any]:
    data = {"image": address, "image_id": picture.image_id, "path": picture.path, "batch": picture.batch}
    more = {"title": picture.title, "sku": picture.sku, "category": picture.category}
    told = {name: value for name, value in more.items() if value is not None}
    return {"data": data | told, "annotations": [_annotation(picture.image_id, one) for one in said]}


def _annotation(image_id: str, said: dict[str, Any]) -> dict[str, Any]:
    results = [
        {
            "id": hashlib.sha256(f"{image_id} {said['who']} {name}".encode()).hexdigest()[:10],
            "from_name": name,
            "to_name": TO_NAME,
            "type": kind,
            "value": {NUMBER: said[name]} if kind == NUMBER else {_key(kind): [said[name]]},
        }
        for name, kind in KINDS.items()
        if name in said
    ]
    return {"result": results, "was_cancelled": False, "created_at": said["when"], "updated_at": said["when"]}


def _said(where: str, task: _Task) -> Iterator[tuple[datetime, dict[str, str]]]:
    for annotation in task.annotations:
        told = {each.from_name: _value(where, each) for each in annotation.result if each.from_name in KINDS}
        if annotation.was_cancelled or not set(told) - {"who"}:
            continue
        row = dict.fromkeys(COLUMNS, "") | task.data.model_dump() | {NAMED[name]: text for name, text in told.items()}
        row |= {"who": row["who"] or _user(annotation.completed_by), "when": annotation.when}
        yield _moment(where, annotation.when), row


def _value(where: str, result: _Result) -> str:
    kind = KINDS[result.from_name]
    told = result.value.get(_key(kind))
    if kind == NUMBER and type(told) in (int, float):
        return str(told)
    if kind != NUMBER and isinstance(told, list) and len(told) == 1 and isinstance(told[0], str):
        return told[0]
    raise NotLabelStudio(f"{where}: one {_key(kind)} is expected under {result.from_name}, not {told!r}")


def _key(kind: str) -> str:
    return "text" if kind == TEXT else kind


def _user(user: int | _User | None) -> str:
    if isinstance(user, _User):
        return user.email
    return "" if user is None else f"label-studio {user}"


def _moment(where: str, text: str) -> datetime:
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise NotLabelStudio(f"{where}: created_at or updated_at is {text!r}; an ISO 8601 time is expected") from None
    return when if when.tzinfo else when.replace(tzinfo=UTC)
