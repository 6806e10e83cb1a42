"""What a question sends, as files: bounded before anything is decoded, whatever form it comes in."""

from __future__ import annotations

import asyncio
import re
import shutil
from pathlib import Path
from time import monotonic

from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.types import Message, Receive

from packshot.errors import PackshotError
from packshot.service.engine import Sent

FACTS = ("sku", "title", "description", "tags", "sender", "category")
LONGEST_NAME = 120
FORM = "application/x-www-form-urlencoded"
LEAST_BYTES_PER_S = 4000
"""Slower than any modem: who sends so is no customer."""
_UNSAFE = re.compile(r"[^\w.() +-]")


class WrongRequest(PackshotError):
    """The question has no picture, or too many, or facts that fit none."""


class TooLarge(PackshotError):
    """The question has more bytes than one may have."""


class TooSlow(PackshotError):
    """The rest of the question did not come in time."""


def bounded(receive: Receive, most_bytes: int, wait_s: float) -> Receive:
    """`receive` that ends a question which is too large, stops coming, or comes in drops. Raises TooLarge, TooSlow."""
    had, begun = 0, monotonic()

    async def receive_some() -> Message:
        nonlocal had
        try:
            message = await asyncio.wait_for(receive(), wait_s)
        except TimeoutError:
            raise TooSlow(f"nothing came for {wait_s:g} seconds") from None
        had += len(message.get("body", b""))
        if message.get("more_body") and had < LEAST_BYTES_PER_S * (monotonic() - begun - wait_s):
            raise TooSlow(f"the request comes slower than {LEAST_BYTES_PER_S} bytes a second")
        if had > most_bytes:
            raise TooLarge(f"the request has more than {most_bytes / 1e6:g} MB (service.max_request_mb)")
        return message

    return receive_some


async def pictures_of(request: Request, folder: Path, most: int) -> list[Sent]:
    """The pictures of a question, written below `folder`: those of the multipart field `file`, else the body itself.

    Fields sku, title, description, tags, sender and category hold what the shop says: once for all pictures, or once
    for each in order. Raises WrongRequest, TooLarge, TooSlow.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _of_form(request, folder, most)
    file = folder / "picture"
    with file.open("wb") as target:
        async for part in request.stream():
            target.write(part)
    if not file.stat().st_size or (kind == FORM and _is_form(file)):
        raise WrongRequest("there is no picture: send its bytes, or multipart fields called `file`")
    return [
        Sent(file, "picture 0", {name: request.query_params[name] for name in FACTS if name in request.query_params})
    ]


def _is_form(file: Path) -> bool:
    """Whether a body is fields of a form and not a picture; clients call both so where nobody says otherwise."""
    with file.open("rb") as opened:
        start = opened.read(64)
    return start.isascii() and start.decode("ascii").isprintable() and b"=" in start


async def _of_form(request: Request, folder: Path, most: int) -> list[Sent]:
    async with request.form(max_files=most + 1, max_fields=len(FACTS) * (most + 1)) as form:
        files = [each for each in form.getlist("file") if isinstance(each, UploadFile)]
        if not files:
            raise WrongRequest("there is no picture: multipart fields that hold one are called `file`")
        if len(files) > most:
            raise WrongRequest(f"{len(files)} pictures are more than the {most} of one request; send several requests")
        facts = _facts({name: [str(each) for each in form.getlist(name)] for name in FACTS}, len(files))
        return [_kept(each, folder, number, facts[number]) for number, each in enumerate(files)]


def _facts(given: dict[str, list[str]], count: int) -> list[dict[str, str]]:
    for name, values in given.items():
        if len(values) not in (0, 1, count):
            raise WrongRequest(f"{len(values)} fields `{name}` came with {count} pictures; send one, or one for each")
    return [
        {name: values[0 if len(values) == 1 else number] for name, values in given.items() if values}
        for number in range(count)
    ]


def _kept(upload: UploadFile, folder: Path, number: int, facts: dict[str, str]) -> Sent:
    name = safe(upload.filename, number)
    file = folder / str(number) / name
    file.parent.mkdir()
    with file.open("wb") as target:
        shutil.copyfileobj(upload.file, target)
    return Sent(file, name, facts)


def safe(name: str | None, number: int) -> str:
    """A name that a stranger sent as that of a file: no folder, no control characters, bounded; never empty."""
    last = re.split(r"[/\\]", name or "")[-1]
    cleaned = _UNSAFE.sub("_", last).strip(". ")
    stem, dot, ending = cleaned.rpartition(".")
    short = f"{stem[:LONGEST_NAME]}{dot}{ending[:10]}"
    return short if short.strip("._") else f"picture {number}"
