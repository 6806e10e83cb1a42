"""What is known of pictures that were scored: why a verdict is as it is, and which pictures are alike in style."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel

from packshot.config import Settings
from packshot.errors import PackshotError
from packshot.exports.style_index import IndexMissing, Wanted, index_folder, open_index
from packshot.exports.why import why
from packshot.scoring.decisions import SHOWN
from packshot.service.engine import Answer
from packshot.service.review import Review, Waiting

ScoredId = Annotated[
    str,
    Path(pattern="^([0-9a-f]{16}|[0-9a-f]{64})$", description="`id` in the queue, or `image_id` of a verdict."),
]
Ask = Callable[[Request, int], Awaitable[list[Answer]]]


class NotJudged(PackshotError):
    """The picture that was sent could not be judged, so nothing can be alike."""

    exit_code = 65


class NoIndex(PackshotError):
    """Nothing was indexed with the model that answers."""

    exit_code = 66


class Alike(BaseModel):
    """An indexed picture; `similarity` is the cosine of the style vectors, -1..1."""

    similarity: float
    batch_id: str
    path: str
    sku: str | None
    category: str | None
    style: str | None
    decision: str


class Found(BaseModel):
    """The pictures nearest in style, nearest first, by the model named."""

    model: str
    hits: list[Alike]


def lookup_routes(settings: Settings, review: Review, ask: Ask, body: dict[str, Any]) -> APIRouter:
    """The routes; `ask` judges what a request sends, `body` describes that in OpenAPI."""
    router = APIRouter(prefix="/v1", tags=["scored pictures"])

    @router.post("/similar", openapi_extra=body)
    async def similar(
        request: Request,
        count: Annotated[int, Query(ge=1, le=100)] = 10,
        category: Annotated[list[str] | None, Query(description="Only of these.")] = None,
        decision: Annotated[list[Waiting] | None, Query(description="Default: accept, enhance.")] = None,
    ) -> Found:
        """Scored pictures whose style is nearest to that of the one sent, which may be a customer's own photograph."""
        wanted = Wanted(count, tuple(category or ()), tuple(decision or SHOWN))
        (answer,) = await ask(request, 1)
        return await asyncio.to_thread(_alike, settings, answer, wanted)

    @router.get("/why/{item}")
    async def reasons(item: ScoredId) -> dict[str, Any]:
        """One verdict followed back: pixels, findings, model and its gates, data and code it came from."""
        return await asyncio.to_thread(_why, settings, review, item)

    return router


def _alike(settings: Settings, answer: Answer, wanted: Wanted) -> Found:
    if answer.style_vector is None:
        raise NotJudged(f"the picture could not be judged: {answer.verdict.error or 'it has no style vector'}")
    try:
        index = open_index(index_folder(answer.model), settings.exports.similar)
    except (IndexMissing, ImportError) as error:
        raise NoIndex(f"nothing is indexed with {answer.model}; `packshot index` does it") from error
    hits = index.search(answer.style_vector, wanted)
    return Found(model=answer.model, hits=[Alike(**hit.as_record()) for hit in hits])


def _why(settings: Settings, review: Review, named: str) -> dict[str, Any]:
    item = review.item(named)
    return why(settings, [item.file], item.path)
