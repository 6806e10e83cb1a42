"""Labels and alarms: labels come in, the champion is held to its promise, pictures to label are queued, and it is
decided whether an alarm starts a training."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packshot.catalog.labels import LabelStore, Opinion, Picture
from packshot.config import DriftSettings, Settings
from packshot.drift.alarm import History, Window, cooldown_until, utc_now
from packshot.errors import PackshotError
from packshot.files import write_json
from packshot.home import Home
from packshot.ops.pipeline import (
    Outcome,
    champion_version,
    inbox_batches,
    verdict_folder,
    workspace_of_version,
)
from packshot.progress import say

if TYPE_CHECKING:
    import pandas as pd

CHECK = "labels-"
"""What the window of a check of labels is named by, before the digest of its labels."""


class NotChecked(PackshotError):
    """A batch was not checked for drift, so nobody knows what is typical of it."""

    exit_code = 66


@dataclass(frozen=True)
class Decision:
    """Whether an alarm starts a training, and why."""

    retrain: bool
    reason: str


# --- labels in ------------------------------------------------------------------------------------


def add_labels(settings: Settings, file: Path) -> Outcome:
    """Add a file of labels to the store, all rows or none, and note it in the ledger; see `catalog.labels`."""
    from packshot.registry.ledger import Ledger

    store = LabelStore(Home.from_environment().labels)
    added = store.add(file, settings.catalog, scored_pictures(), styles_told(settings), utc_now())
    record = asdict(added) | {"labelled": len(store.opinions()), "store": str(store.folder)}
    say(f"labels: {added.added} added, {added.known} known already, {added.blank} rows left blank")
    if added.added:
        payload = {"added": added.added, "labelled": record["labelled"], "note": f"{added.added} labels added"}
        Ledger.from_environment().record("labels", model_name=settings.registry.model_name, payload=payload)
    return Outcome(record, done=added.added > 0)


def scored_pictures() -> list[Picture]:
    """Every picture of the inbox that has a verdict."""
    from packshot.scoring.verdicts import read_verdicts

    home = Home.from_environment()
    facts = ("sku", "title", "sender", "category")
    found = {}
    for batch in inbox_batches():
        for file in sorted((home.verdicts / batch).glob("v*/verdicts.parquet")):
            for row in read_verdicts(file, ["path", "image_id", *facts]).to_pylist():
                if row["image_id"]:
                    location = home.inbox / batch / row["path"]
                    texts = {name: row[name] for name in facts}
                    found[batch, row["path"]] = Picture(row["image_id"], batch, row["path"], location, **texts)
    return list(found.values())


def styles_told(settings: Settings) -> tuple[str, ...]:
    """Those that the champion tells; none where there is no champion."""
    from packshot.bundle import read_record
    from packshot.registry.models import NoSuchModel, bundle_path

    try:
        return tuple(read_record(bundle_path(settings, "champion")[0]).architecture.styles)
    except NoSuchModel:
        return ()


def new_opinions(settings: Settings, version: int) -> dict[str, Opinion]:
    """Labelled pictures, by content, that the data of a version does not hold."""
    opinions = LabelStore(Home.from_environment().labels).lessons()
    return unlearned(settings, version, opinions)


def unlearned(settings: Settings, version: int, opinions: dict[str, Opinion]) -> dict[str, Opinion]:
    """Those of `opinions` on pictures that the data of a version does not hold."""
    import pandas as pd

    from packshot.revision import SPLIT_MANIFEST

    if not opinions:
        return {}
    manifest = workspace_of_version(settings, version) / SPLIT_MANIFEST
    known = set(pd.read_parquet(manifest, columns=["image_id"])["image_id"])
    return {image_id: opinion for image_id, opinion in opinions.items() if image_id not in known}


# --- the champion against its promise -------------------------------------------------------------


def check_labels(settings: Settings) -> Outcome:
    """Compare the champion on newly labelled pictures with its held-out figures; not done where no label is new.

    A figure that is worse than promised is an alarm in drift's history. The same labels are one check, however often
    it is asked for. Raises NothingPromised, NoSuchModel.
    """
    from packshot.drift.labelled import NEEDED, compare_with_promise
    from packshot.drift.queue import UNSURE
    from packshot.registry.promise import promised_rows

    home = Home.from_environment()
    version = champion_version(settings)
    opinions = new_opinions(settings, version)
    # The judge errs more where it is unsure; pictures chosen for that would break any promise.
    fair = {key: one for key, one in opinions.items() if not (one.label.why or "").startswith(UNSURE)}
    labelled = _judged(version, fair)
    if labelled.empty:
        say("labels: none is on a picture that the champion has judged and not learned from; nothing to check")
        return Outcome({"model_version": version, "images": 0}, done=False)
    window_id = CHECK + hashlib.sha256(labelled.to_csv(index=False).encode()).hexdigest()[:12]
    history = _history(version)
    with history.update():
        before = history.before(window_id)
        done_before = len(before) < len(history.windows())
        look = 1 + sum(window.batch_id.startswith(CHECK) for window in before)
        promised = promised_rows(settings, version, NEEDED)
        figures = compare_with_promise(labelled, promised, settings.drift, look, settings.evaluation.bootstrap)
        worse = [each.figure for each in figures if each.finding == "worse than promised"]
        judged = any(each.finding != "not enough labels" for each in figures)
        record: dict[str, Any] = {
            "model_version": version,
            "images": len(labelled),
            "look": look,
            "alarm": bool(worse),
            "figures": [asdict(each) for each in figures],
            "reason": f"worse than promised: {', '.join(worse)}" if worse else "no figure is shown worse than promised",
        }
        if judged:
            now = utc_now().isoformat(timespec="seconds")
            history.put(Window(window_id, None, bool(worse), now))
        else:
            record["reason"] = "not enough labels"
    write_json(home.drift / f"labels-v{version}.json", record)
    if judged and not done_before:
        _note(settings, version, "labels", record)
    say(f"labels: {len(labelled)} newly labelled pictures: {record['reason']}")
    return Outcome(record)


def _judged(version: int, opinions: dict[str, Opinion]) -> pd.DataFrame:
    """The champion's verdicts on labelled pictures, each picture once, sorted by content."""
    import pandas as pd

    from packshot.evaluation.shop_scale import JUDGED, as_judged
    from packshot.scoring.verdicts import verdict_parts

    columns = ["image_id", "sender", "quality", "quality_low", "quality_high", "style", "error"]
    frames = [pd.DataFrame(columns=columns, dtype=object)]
    for batch in inbox_batches():
        file = verdict_folder(batch, version) / "verdicts.parquet"
        if file.exists():
            for part in verdict_parts(file, [*columns, *JUDGED.values()]):
                frame = as_judged(part.to_pandas().astype(object))  # the promise is the judge's, not the scale's
                frames.append(frame[frame["error"].isna() & frame["image_id"].isin(list(opinions))])
    rows = pd.concat(frames, ignore_index=True)
    rows = rows.drop_duplicates("image_id").sort_values("image_id", ignore_index=True)
    group = ("sender " + rows["sender"].astype(str)).where(rows["sender"].notna(), "picture " + rows["image_id"])
    said = [opinions[image_id] for image_id in rows["image_id"]]
    judged: pd.DataFrame = rows.assign(
        group=group,
        style_pred=rows["style"],
        quality=rows["quality"].astype(float),
        quality_low=rows["quality_low"].astype(float),
        quality_high=rows["quality_high"].astype(float),
        quality_mos=pd.Series([opinion.quality_mos for opinion in said], dtype=float),
        style=pd.Series([opinion.style for opinion in said], dtype=object),
    ).drop(columns="error")
    return judged


# --- pictures to label ----------------------------------------------------------------------------


def queue_labels(settings: Settings, batches: Sequence[str]) -> Outcome:
    """Fill the queue with the pictures of `batches` most worth a label; with none named, of all that alarmed.

    What waits, and what was filled in, stays; what has its label leaves. Raises NotChecked.
    """
    from packshot.serving.label_queue import PAGE, TABLE, read_queue, write_queue

    home = Home.from_environment()
    version = champion_version(settings)
    named = list(batches) or _alarmed(version)
    store = LabelStore(home.labels)
    with store.alone():
        labelled = set(store.lessons())
        before = read_queue(home.labels)
        queue = before[~before["image_id"].isin(labelled)]
        kept = len(queue)
        for batch in named:
            queue = _with_batch(queue, batch, version, labelled, settings.drift)
        if not queue.equals(before) or not (home.labels / PAGE).exists():
            write_queue(home.labels, queue, home.inbox, settings)
    record = {"queue": str(home.labels / TABLE), "waiting": len(queue), "queued": len(queue) - kept, "batches": named}
    say(f"label queue: {record['queued']} pictures added, {len(queue)} wait in {record['queue']}")
    return Outcome(record, done=bool(named))


def _with_batch(
    queue: pd.DataFrame, batch: str, version: int, labelled: set[str], rules: DriftSettings
) -> pd.DataFrame:
    import pandas as pd

    from packshot.drift.queue import COLUMNS, choose, typical_paths
    from packshot.scoring.verdicts import read_verdicts

    folder = verdict_folder(batch, version)
    if not (folder / "drift.json").is_file():
        raise NotChecked(
            f"batch {batch!r} was not checked for drift with version {version}; run `packshot inbox score {batch}` and "
            f"`packshot inbox drift {batch}` first"
        )
    drift = json.loads((folder / "drift.json").read_text(encoding="utf-8"))
    frame = read_verdicts(folder / "verdicts.parquet", [n for n in COLUMNS if n != "batch"] + ["error"]).to_pandas()
    frame = frame[frame["error"].isna() & frame["embedding"].notna()].reset_index(drop=True)
    room = rules.queue_size - int((queue["batch"] == batch).sum())
    if frame.empty or room <= 0:
        return queue
    taken = labelled | set(queue["image_id"])
    chosen = choose(frame, typical_paths(drift), room, rules.queue_per_sender, taken)
    rows = frame.iloc[[each.row for each in chosen]][["image_id", "path"]]
    fresh = rows.assign(batch=batch, why=[each.why for each in chosen]).astype(object)
    filled: pd.DataFrame = pd.concat([queue, fresh], ignore_index=True).reindex(columns=queue.columns).fillna("")
    return filled


def _alarmed(version: int) -> list[str]:
    """Batches of the inbox whose check by this version alarmed."""
    found = []
    for batch in inbox_batches():
        file = verdict_folder(batch, version) / "drift.json"
        if file.is_file() and json.loads(file.read_text(encoding="utf-8"))["alarm"]:
            found.append(batch)
    return found


# --- what an alarm starts -------------------------------------------------------------------------


def respond(settings: Settings) -> Outcome:
    """Answer the alarms of the champion that have started no training: queue pictures, and decide on retraining.

    Not done: no training. Asked again it decides again, since labels may have come. Once a training was decided on
    the alarms are answered; should its event be lost, the next schedule finds the same labels.
    """
    version = champion_version(settings)
    history = _history(version)
    open_alarms = [window for window in history.windows() if window.alarm and window.answered_at is None]
    record: dict[str, Any] = {"model_version": version, "retrain": False}
    if not open_alarms:
        say("no alarm is waiting for an answer")
        return Outcome(record | {"batches": [], "reason": "no alarm"}, done=False)
    queued = queue_labels(settings, []).record
    tested = [window.p_value for window in open_alarms if window.p_value is not None]
    record |= {
        "batches": [window.batch_id for window in open_alarms],
        "p_value": min(tested, default=None),
        "new_labels": len(new_opinions(settings, version)),
        "queue": queued["queue"],
        "waiting": queued["waiting"],
    }
    with history.update():
        now = utc_now()
        until = cooldown_until(history.windows(), settings.drift, now)
        cooldown = until.isoformat(timespec="minutes") if until else None
        decision = decide(settings.drift, record["new_labels"], cooldown)
        record |= asdict(decision)
        _note(settings, version, "drift_response", record)
        if decision.retrain:
            history.answer(record["batches"], now)
    say(f"{len(open_alarms)} alarm(s): {'retraining' if decision.retrain else 'no retraining'}: {decision.reason}")
    return Outcome(record, done=decision.retrain)


def decide(rules: DriftSettings, new_labels: int, cooldown: str | None) -> Decision:
    """Whether an alarm starts a training; `new_labels` are pictures, `cooldown` when the last training's ends."""
    if rules.retrain == "never":
        return Decision(False, "drift.retrain is never")
    if cooldown is not None:
        return Decision(False, f"an alarm started a training already; the next one may from {cooldown}")
    if rules.retrain == "always":
        return Decision(True, "drift.retrain is always")
    needed = rules.min_new_labels
    if new_labels < needed:
        return Decision(False, f"{new_labels} newly labelled pictures, {needed} are needed to make a training worth it")
    return Decision(True, f"{new_labels} newly labelled pictures to learn from")


def _history(version: int) -> History:
    return History(Home.from_environment().drift / f"v{version}.jsonl")


def _note(settings: Settings, version: int, kind: str, record: dict[str, Any]) -> None:
    """Into the ledger, unless it is what was said last; entries made under Airflow say more."""
    from packshot.registry.ledger import Ledger

    ledger, name = Ledger.from_environment(), settings.registry.model_name
    entries = ledger.history(name, kind)
    if not entries or {key: entries[-1]["payload"].get(key) for key in record} != record:
        ledger.record(kind, model_name=name, to_version=version, payload=record)
