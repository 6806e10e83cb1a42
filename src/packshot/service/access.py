"""Who may ask what: the one table that the service checks, the documents show and a test goes through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Role = Literal["read", "score", "review", "approve", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)
JUDGES: tuple[Role, ...] = ("score", "review", "admin")
REVIEWERS: tuple[Role, ...] = ("review", "admin")
APPROVERS: tuple[Role, ...] = ("approve", "admin")
READERS: tuple[Role, ...] = ("read", "review", "approve", "admin")


@dataclass(frozen=True)
class Route:
    """One thing that can be asked; a part of `path` in braces is whatever stands there. `roles`: of the keys and people
    that may; empty: anybody, without a key."""

    method: str
    path: str
    roles: tuple[Role, ...]
    what: str
    form: bool = False
    """Sent by a form: what shows that it is of this session stands in a field, and is checked by who reads them."""

    @property
    def is_page(self) -> bool:
        """Whether who is not known here is shown where to sign in."""
        return self.method == "GET" and self.path.startswith("/desk") and bool(self.roles)


ROUTES = (
    Route("GET", "/healthz", (), "whether the process runs"),
    Route("GET", "/readyz", (), "whether a model is loaded and may judge; 503 with the reason where not"),
    Route("GET", "/metrics", (), "counts and times for Prometheus; nothing of any picture"),
    Route("GET", "/openapi.json", (), "this interface as OpenAPI"),
    Route("GET", "/docs", (), "the same to read"),
    Route("GET", "/desk", (), "the review desk; it asks for a key, or to sign in"),
    Route("GET", "/desk/desk.css", (), "how its pages look"),
    Route("GET", "/desk/sign-in", (), "where people sign in"),
    Route("POST", "/desk/sign-in", (), "name and password for a session", form=True),
    Route("GET", "/desk/enter", (), "where a link leads that lets somebody in once"),
    Route("POST", "/desk/enter", (), "the link and a new password for a session", form=True),
    Route("POST", "/desk/sign-out", ROLES, "the end of a session", form=True),
    Route("GET", "/desk/grid", READERS, "all pictures, filtered, searched and sorted"),
    Route("POST", "/desk/grid", REVIEWERS, "one decision on several pictures", form=True),
    Route("POST", "/desk/views", READERS, "a filter of the grid, kept under a name, or thrown away", form=True),
    Route("GET", "/desk/batches", READERS, "scored batches with their drift"),
    Route("GET", "/desk/batch", READERS, "one of them"),
    Route("GET", "/desk/model", READERS, "versions, gates with intervals, approvals, promotions"),
    Route("POST", "/desk/model", APPROVERS, "what somebody says to a version that waits for approval", form=True),
    Route("POST", "/desk/rollback", ("admin",), "an earlier champion again, with a reason", form=True),
    Route("GET", "/desk/data", READERS, "the newest data: what is in quarantine and why"),
    Route("GET", "/desk/sellers", READERS, "what sellers have to fix"),
    Route("GET", "/desk/sellers.csv", READERS, "the same as a table, or one seller's pictures"),
    Route("GET", "/desk/labels", READERS, "how far people agree, and what they have to settle"),
    Route("GET", "/desk/people", ("admin",), "who may sign in"),
    Route("POST", "/desk/people", ("admin",), "let somebody in, make them a new link, or remove them", form=True),
    Route("GET", "/v1/model", ROLES, "which model judges: version, lineage, digests, card"),
    Route("POST", "/v1/verdicts", JUDGES, "the verdict on each picture sent, in order"),
    Route("POST", "/v1/enhance", JUDGES, "the repaired picture, 204 where none is better than the original"),
    Route("POST", "/v1/similar", JUDGES, "scored pictures whose style is nearest to that of the picture sent"),
    Route("GET", "/v1/why/{item}", ROLES, "the verdict on a scored picture followed back: pixels, model, gates, data"),
    Route("GET", "/v1/queue", REVIEWERS, "pictures of scored batches that wait for a person, least sure first"),
    Route("GET", "/v1/queue/{item}", REVIEWERS, "one of them: its verdict, what people decided, its siblings"),
    Route("GET", "/v1/queue/{item}/picture", REVIEWERS, "the picture, or the repaired one, as JPEG for a screen"),
    Route("GET", "/v1/queue/{item}/alike", REVIEWERS, "pictures that look alike in style, and what people decided"),
    Route("GET", "/v1/queue/{item}/preview", READERS, "a small JPEG of it"),
    Route("POST", "/v1/queue/{item}/decision", REVIEWERS, "what a person decides; an entry of the ledger"),
)


def route_of(method: str, path: str) -> Route | None:
    """The route of a request; None where there is none."""
    asked = "GET" if method == "HEAD" else method
    return next((route for route in ROUTES if route.method == asked and _fits(route.path, path)), None)


def _fits(template: str, path: str) -> bool:
    wanted, found = template.split("/"), path.split("/")
    parts = zip(wanted, found, strict=False)
    return len(wanted) == len(found) and all(want == part or (want.startswith("{") and part) for want, part in parts)


def table() -> str:
    """The table in Markdown."""
    head = "| asked | by | answers |\n|---|---|---|\n"
    rows = (
        f"| `{each.method} {each.path}` | {', '.join(each.roles) or 'anybody, without a key'} | {each.what} |\n"
        for each in ROUTES
    )
    return head + "".join(rows)
