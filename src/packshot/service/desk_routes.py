"""What the desk asks: the queue, a picture in it, and what a person decides."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict

from packshot.service.alike import Alike
from packshot.service.review import Decided, Page, Review, Said, Shown, Waiting

ItemId = Annotated[str, Path(pattern="^[0-9a-f]{16}$", description="`id` of a picture in the queue.")]
NEAREST = 6
PRIVATE = {"Cache-Control": "private, max-age=300"}


class Near(BaseModel):
    """A picture that looks alike; `similarity` is the cosine of the style vectors, -1 to 1."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    id: str
    path: str
    sku: str | None
    similarity: float
    decision: str
    """The engine's."""
    outcome: str | None
    """What people decided, where that stands."""


def desk_routes(review: Review, alike: Alike) -> APIRouter:
    """The routes; who may ask is checked before they are reached."""
    router = APIRouter(prefix="/v1/queue", tags=["desk"])

    @router.get("")
    async def queue(
        decision: Annotated[Waiting, Query(description="What the engine decided.")] = "review",
        after: Annotated[str | None, Query(pattern="^[0-9a-f]{16}$")] = None,
        count: Annotated[int, Query(ge=1, le=200)] = 20,
    ) -> Page:
        """Pictures that wait for a person, least sure first, behind the one named."""
        return await asyncio.to_thread(review.page, decision, after, count)

    @router.get("/{item}")
    async def item(item: ItemId) -> Shown:
        """One picture: its verdict, what people decided on it, other pictures of its SKU."""
        return await asyncio.to_thread(review.shown, item)

    @router.get("/{item}/picture", response_class=Response)
    async def picture(item: ItemId, of: Literal["original", "enhanced"] = "original") -> Response:
        """The picture as JPEG of at most 1,600 pixels, decoded apart and written anew."""
        content = await asyncio.to_thread(review.picture, item, of)
        return Response(content, media_type="image/jpeg", headers=PRIVATE)

    @router.get("/{item}/alike")
    async def nearest(item: ItemId) -> list[Near]:
        """Pictures of other SKUs whose style is nearest, of those that the same model scored."""
        return await asyncio.to_thread(_near, review, alike, item)

    @router.get("/{item}/preview", response_class=Response)
    async def preview(item: ItemId) -> Response:
        """The small JPEG that was made when the picture was judged."""
        return Response(await asyncio.to_thread(review.preview, item), media_type="image/jpeg", headers=PRIVATE)

    @router.post("/{item}/decision")
    async def decision(item: ItemId, said: Said, request: Request) -> Decided:
        """Enter a decision into the ledger under the name of who asks; 409 where somebody else decided meanwhile."""
        return await asyncio.to_thread(review.decide, item, said, request.state.caller.name)

    return router


def _near(review: Review, alike: Alike, named: str) -> list[Near]:
    found = []
    for item, similarity in alike.nearest(review.item(named), NEAREST):
        facts = {"id": item.id, "path": item.path, "sku": item.sku, "decision": item.decision}
        found.append(Near(**facts, similarity=similarity, outcome=review.standing_of(item.id)))
    return found
