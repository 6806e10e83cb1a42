"""What the ledger's entries add up to: who is champion, who was, what was begun. One replay answers all of it.

Nobody else walks the entries to learn what holds now, so that a new kind of entry changes one place.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import singledispatchmethod

from packshot.registry.events import (
    Approval,
    Committed,
    Event,
    Gated,
    Intent,
    Moved,
    Refused,
    Registered,
    Shadowed,
    ShopScaled,
)


@dataclass(frozen=True)
class Reign:
    """A version (None: no champion) was champion since, and until another was; `until` None: it still is. ISO, UTC.
    `reason`: what was said by who rolled back to it."""

    version: int | None
    by: str
    since: str
    until: str | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Pending:
    """A move that was begun and never committed: the process was killed in between."""

    entry: Intent
    moved: bool = False

    @property
    def version(self) -> int:
        """Where the alias goes."""
        assert self.entry.to_version is not None, "a move is always to a version"
        return self.entry.to_version

    @property
    def ends(self) -> tuple[int | None, int | None]:
        """Where the alias may be meanwhile."""
        return self.entry.from_version, self.entry.to_version


@dataclass(frozen=True)
class Shadow:
    """The version in shadow, by the ledger entry `entry` of the time `at`; `complete_beside`: the champion with whom it
    has seen all its batches."""

    version: int
    entry: int
    at: str
    complete_beside: int | None = None


@dataclass
class State:
    """One model by its entries. Read it, do not change it: it is what `replay` returns."""

    last_id: int = 0
    """The newest entry of the model."""
    reigns: list[Reign] = field(default_factory=list)
    standing: list[int] = field(default_factory=list)
    """The champions that stand on each other: a promotion adds one, a rollback takes away down to its target."""
    rolled_back: set[int] = field(default_factory=set)
    """Versions that were taken back and not made champion again since."""
    pending: Pending | None = None
    """There is never more than one."""
    shadow: Shadow | None = None
    registered: dict[int, Registered] = field(default_factory=dict)
    """By version, the first entry of each: a later one cannot say otherwise what was registered, only add the digest
    of the logged model where an older Packshot left it out."""
    gates: dict[int, Gated] = field(default_factory=dict)
    """By version, the newest decision of the gates."""
    approvals: dict[int, list[Approval]] = field(default_factory=dict)
    """By version, the answers of people, oldest first."""
    judged: dict[int, int] = field(default_factory=dict)
    """By version, the newest entry that decided about it: of the gates, a refusal, a move."""
    scales: dict[str, ShopScaled] = field(default_factory=dict)
    """By the digest of the bundle, the shop's scale in force: of another bundle's scores it says nothing."""
    outcomes: dict[int, str] = field(default_factory=dict)
    """By version what became of it at last: promoted, refused, not_enough_evidence."""

    @property
    def champion(self) -> int | None:
        """What the alias must be now; None before the first promotion and after an adopted absence."""
        return self.reigns[-1].version if self.reigns else None

    @property
    def alias_may_be(self) -> tuple[int | None, ...]:
        """Where the alias may be found: at the champion, during a move at either end of it."""
        return self.pending.ends if self.pending is not None else (self.champion,)

    @property
    def rolled_back_bundles(self) -> dict[str, int]:
        """The digests of the bundles that were taken back, each with its version: a new number does not change what
        it is."""
        taken_back = {version: self.registered.get(version) for version in sorted(self.rolled_back)}
        digests = {version: entry.payload.bundle_sha256 for version, entry in taken_back.items() if entry}
        return {digest: version for version, digest in digests.items() if digest}

    @property
    def champions(self) -> list[int | None]:
        """Every version that was made champion, in order; None stands for an adopted absence."""
        return [reign.version for reign in self.reigns]

    def reigns_of(self, version: int) -> list[Reign]:
        """When a version was champion, by whom."""
        return [reign for reign in self.reigns if reign.version == version]

    @singledispatchmethod
    def _take(self, event: Event) -> None:
        """Most entries say nothing of what holds now."""

    @_take.register
    def _(self, event: Registered) -> None:
        if event.to_version is None:
            return
        first = self.registered.setdefault(event.to_version, event)
        same = first.payload.bundle_sha256 == event.payload.bundle_sha256
        if first.payload.model_sha256 is None and same:
            told = {"model_sha256": event.payload.model_sha256}
            payload = first.payload.model_copy(update=told)
            self.registered[event.to_version] = first.model_copy(update={"payload": payload})

    @_take.register
    def _(self, event: Gated) -> None:
        if event.to_version is not None:
            self.gates[event.to_version] = event
            self.judged[event.to_version] = event.id

    @_take.register
    def _(self, event: Refused) -> None:
        if event.to_version is not None:
            self.judged[event.to_version] = event.id
            self.outcomes[event.to_version] = event.payload.outcome or "refused"

    @_take.register
    def _(self, event: Approval) -> None:
        if event.to_version is not None:
            self.approvals.setdefault(event.to_version, []).append(event)

    @_take.register
    def _(self, event: Intent) -> None:
        self.pending = Pending(event)

    @_take.register
    def _(self, event: Moved) -> None:
        if self.pending is not None:
            self.pending = Pending(self.pending.entry, moved=True)

    @_take.register
    def _(self, event: Committed) -> None:
        begun, self.pending = self.pending, None
        if self.reigns:
            self.reigns[-1] = replace(self.reigns[-1], until=event.at)
        reason = begun.entry.payload.reason if begun is not None else None
        self.reigns.append(Reign(event.to_version, event.actor, event.at, reason=reason))
        if event.rollback and event.from_version is not None:
            self.rolled_back.add(event.from_version)
        if event.to_version is not None:
            self._crown(event.to_version, event)

    @_take.register
    def _(self, event: Shadowed) -> None:
        state = event.payload.state
        if state == "ended" or event.to_version is None:
            self.shadow = None
        else:
            beside = event.from_version if state == "complete" else None
            self.shadow = Shadow(event.to_version, event.id, event.at, beside)

    @_take.register
    def _(self, event: ShopScaled) -> None:
        if event.payload.state == "in_force":
            self.scales[event.payload.bundle_sha256] = event
        elif event.payload.state == "withdrawn":
            self.scales.pop(event.payload.bundle_sha256, None)

    def _crown(self, version: int, event: Committed) -> None:
        self.rolled_back.discard(version)
        self.judged[version] = event.id
        if event.kind == "committed":
            self.outcomes[version] = "promoted"
        if event.rollback and version in self.standing:
            del self.standing[self.standing.index(version) + 1 :]
        else:
            self.standing = [*(other for other in self.standing if other != version), version]
        if self.shadow is not None and self.shadow.version == version:
            self.shadow = None


def replay(events: Iterable[Event]) -> State:
    """What the events of one model, oldest first, add up to."""
    state = State()
    for event in events:
        state.last_id = event.id
        state._take(event)
    return state
