"""Shards of a planned batch on a Ray cluster: a Ray Dataset of their numbers, mapped by actors that hold the model.

Images, plan, shards and enhanced images lie on a disk that every node sees at the same paths; only numbers of shards,
and the bundle where a node does not see it, go through Ray. A shard whose node dies is given to another actor; since a
finished shard is a file, it does not matter how often or where one is tried.
"""

from __future__ import annotations

import logging
import os
import platform
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa

from packshot.config import Settings
from packshot.errors import PackshotError
from packshot.files import atomic_folder
from packshot.home import Home
from packshot.lock import held
from packshot.progress import Advance
from packshot.scoring.batch import score_shard
from packshot.scoring.plan import Plan, open_plan
from packshot.scoring.rows import Work
from packshot.scoring.scorer import open_scorer
from packshot.scoring.shards import Shard, ShardBusy

if TYPE_CHECKING:
    from packshot.registry.shop_scales import ShopScale

RESTARTS = 5
"""Of an actor, and tries of its shards: a picture that ends every process which opens it must not go on for ever."""
TASKS_PER_ACTOR = 32
"""Into which a batch is cut: fewer leave nodes idle at the end, more make Ray keep more books."""
REACHABLE_WITHIN_S = 10.0
UNPACKED_WITHIN_S = 600.0
BUSY, DONE = "busy", "done"


class RayMissing(PackshotError):
    """Ray is not installed."""

    exit_code = 2


class NoRayCluster(PackshotError):
    """No Ray cluster answers, or none of its nodes has room for the model."""

    exit_code = 69


class RayFailed(PackshotError):
    """Scoring ended on the cluster; what is finished is kept."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(f"{message}; the same command again goes on with the shards that are left")
        self.exit_code = exit_code


class FilesNotSeen(PackshotError):
    """A node does not see the images, or the bundle."""


@dataclass(frozen=True)
class SharedBundle:
    """A model's folder, and its files in Ray's object store for nodes that do not see that folder."""

    folder: Path
    digest: str
    files: Any
    """ObjectRef of names and bytes."""

    def here(self) -> Path:
        """The folder, or a copy under this node's PACKSHOT_HOME."""
        import ray

        from packshot.evaluation.digest import bundle_digest

        if self.folder.is_dir() and bundle_digest(self.folder) == self.digest:
            return self.folder
        copy = Home.from_environment().bundles / self.digest
        busy = FilesNotSeen(f"another actor has been writing {copy} for {UNPACKED_WITHIN_S:g} s")
        with held(f"bundle-{self.digest[:16]}", UNPACKED_WITHIN_S, busy):
            if not copy.is_dir() or bundle_digest(copy) != self.digest:
                with atomic_folder(copy) as building:
                    for name, content in ray.get(self.files).items():
                        (building / name).parent.mkdir(parents=True, exist_ok=True)
                        (building / name).write_bytes(content)
        return copy


class ScoreShard:
    """An actor: opens plan and model when it gets its first shard, and keeps them."""

    def __init__(self, settings: Settings, out: Path, bundle: SharedBundle, scale: ShopScale | None) -> None:
        self._settings = settings
        self._out = out
        self._bundle = bundle
        self._scale = scale

    def __call__(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Score one shard. What goes wrong is handed on in words, since not every error survives the way back."""
        told: dict[str, Any] = {"number": int(row["number"]), "files": 0, "said": DONE, "exit_code": 0}
        try:
            return told | {"files": self._score(told["number"])}
        except ShardBusy:
            return told | {"said": BUSY}
        except Exception as error:
            code = error.exit_code if isinstance(error, PackshotError) else 1
            return told | {"said": f"{type(error).__name__} on {platform.node()}: {error}", "exit_code": code}

    def _score(self, number: int) -> int:
        work, plan = self._opened
        shard = plan.shard(number)
        _check_seen(shard, plan.root)
        score_shard(work, shard)
        return len(shard.waiting)

    @cached_property
    def _opened(self) -> tuple[Work, Plan]:
        """Raises NotPlanned where this node does not see the plan, or has other code."""
        scorer = replace(open_scorer(self._settings, str(self._bundle.here())), scale=self._scale)
        plan = open_plan(self._settings, self._out, scorer)
        _ = scorer.judge  # a model that does not load ends the run, not each image
        return Work(self._settings, plan.root, self._out, scorer), plan


def _check_seen(shard: Shard, root: Path) -> None:
    if not any(os.path.lexists(file.location) for file in shard.files):
        raise FilesNotSeen(f"none of the {len(shard.files)} files of a shard is there; is {root} mounted on this node?")


@dataclass(frozen=True)
class Actors:
    """How many, the cores of each, and what it is made from."""

    count: int
    cores: int
    arguments: tuple[Settings, Path, SharedBundle, ShopScale | None]


@contextmanager
def on_cluster(work: Work) -> Iterator[Callable[[Sequence[int], Advance], list[int]]]:
    """Yields what scores shards by number on the cluster, and returns those that another process is at.

    Each actor takes `training.threads` cores, or where that is 0 those of the smallest node. Raises RayMissing,
    NoRayCluster; what is yielded raises RayFailed.
    """
    ray = _ray()
    with _connected(work.settings.scoring.ray_address):
        cores = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
        each = work.settings.training.threads or min(filter(None, cores), default=1)
        count = sum(one // each for one in cores)
        if not count:
            raise NoRayCluster(f"no node of the Ray cluster has {each} cores; lower training.threads")
        training = work.settings.training.model_copy(update={"threads": each})
        settings = work.settings.model_copy(update={"training": training})
        yield partial(_score_some, Actors(count, each, (settings, work.out.resolve(), _share(work), work.scorer.scale)))


def _score_some(actors: Actors, numbers: Sequence[int], advance: Advance) -> list[int]:
    import ray.data

    tasks = np.array_split(np.asarray(numbers), min(len(numbers), actors.count * TASKS_PER_ACTOR))
    scored = ray.data.from_arrow([pa.table({"number": task}) for task in tasks]).map(
        ScoreShard,  # type: ignore[arg-type]
        fn_constructor_args=actors.arguments,
        compute=ray.data.ActorPoolStrategy(size=min(actors.count, len(numbers)), max_tasks_in_flight_per_actor=2),
        num_cpus=actors.cores,
        max_restarts=RESTARTS,
        max_task_retries=RESTARTS,
    )
    busy = []
    try:
        for row in scored.iter_rows():
            if row["said"] == BUSY:
                busy.append(row["number"])
            elif row["said"] == DONE:
                advance(row["files"])
            else:
                raise RayFailed(row["said"], row["exit_code"])
    except ray.exceptions.RayError as error:
        raise RayFailed(f"the Ray cluster could not finish: {error}", NoRayCluster.exit_code) from error
    return busy


def _share(work: Work) -> SharedBundle:
    import ray

    folder = work.scorer.folder
    if folder is None:
        raise RayFailed("a model that does not come from a bundle cannot be sent to a Ray cluster")
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return SharedBundle(folder.resolve(), work.scorer.digest, ray.put(files))


@contextmanager
def _connected(address: str | None) -> Iterator[None]:
    """Connect to `address`, else RAY_ADDRESS, else the cluster that runs on this machine."""
    import ray
    import ray.data

    named = address or os.environ.get("RAY_ADDRESS") or "auto"
    _check_reachable(named)
    try:
        ray.init(address=named, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise NoRayCluster(_no_cluster(named, str(error))) from error
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    with redirect_stdout(sys.stderr):  # Ray tells of dead nodes on standard output, which is for the result
        try:
            yield
        finally:
            ray.shutdown()


def _check_reachable(address: str) -> None:
    """Ray itself tries for minutes, then ends the process."""
    parts = urlsplit(address if "://" in address else f"//{address}")
    try:
        if parts.hostname and parts.port:
            socket.create_connection((parts.hostname, parts.port), REACHABLE_WITHIN_S).close()
    except (OSError, ValueError) as error:
        raise NoRayCluster(_no_cluster(address, str(error))) from error


def _no_cluster(address: str, cause: str) -> str:
    where = "on this machine" if address == "auto" else f"at {address}"
    return (
        f"no Ray cluster answers {where} ({cause}); start one with `ray start --head`, or name yours by "
        "scoring.ray_address in params.yaml or RAY_ADDRESS"
    )


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise RayMissing(f"--engine ray needs Ray ({error}); install `ray[data]` as in requirements.lock") from error
    return ray
