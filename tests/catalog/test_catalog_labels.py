"""Labels that come after scoring: which rows are refused, what is kept, and how the pictures enter the catalogue."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
from tiny_mirror import make_mirror, picture

from packshot.catalog.collect import collect
from packshot.catalog.labels import ENTRIES, LabelsRefused, LabelStore, LabelStoreDamaged, Picture
from packshot.catalog.manifest import read_manifest
from packshot.catalog.split import SplitLeak, check_no_leak
from packshot.catalog.validate import validate
from packshot.config import Settings, load_settings

PROJECT = Path(__file__).resolve().parents[2]
NOW = datetime(2026, 5, 1, tzinfo=UTC)
HEADER = "path,batch,quality_mos,style,who,when\n"


@pytest.fixture
def pictures(tmp_path: Path) -> list[Picture]:
    found = []
    for batch, name, seed in (("one", "a.png", 1), ("one", "b.png", 2), ("two", "a.png", 3), ("two", "c.png", 4)):
        file = tmp_path / "inbox" / batch / name
        picture(file, 900 + seed)
        image_id = hashlib.sha256(file.read_bytes()).hexdigest()
        found.append(Picture(image_id, batch, name, file, title="Chair", sender="s1"))
    return found


@pytest.fixture
def store(tmp_path: Path) -> LabelStore:
    return LabelStore(tmp_path / "home" / "labels")


def add(store: LabelStore, pictures: list[Picture], rows: str, header: str = HEADER) -> tuple[int, int, int]:
    file = store.folder.parent / "labels.csv"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(header + rows)
    rules = load_settings(PROJECT / "params.yaml").catalog
    added = store.add(file, rules, pictures, ("rustic", "modern"), NOW)
    return added.added, added.known, added.blank


def test_good_rows_are_kept_with_their_pictures_and_a_second_time_nothing_is_added(
    store: LabelStore, pictures: list[Picture]
) -> None:
    rows = "b.png,,0.5,,ann,2026-04-01\na.png,two,,rustic,ann,2026-04-01T12:00+02:00\nc.png,,,,,\n"
    assert add(store, pictures, rows) == (2, 0, 1)
    assert add(store, pictures, rows) == (0, 2, 1)
    b, a = store.labels()
    assert (b.quality_mos, b.style, b.sender) == (0.5, None, "s1") and a.when == "2026-04-01T10:00:00+00:00"
    for label in (a, b):
        assert hashlib.sha256((store.folder / label.file).read_bytes()).hexdigest() == label.image_id


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("z.png,,0.5,,ann,2026-04-01", "no scored picture has the path z.png"),
        ("a.png,,0.5,,ann,2026-04-01", "in the batches one, two"),
        ("a.png,three,0.5,,ann,2026-04-01", "batch 'three' has no scored picture"),
        (",,0.5,,ann,2026-04-01", "names no picture"),
        ("c.png,,NaN,,ann,2026-04-01", "quality_mos is 'NaN'"),
        ("c.png,,73,,ann,2026-04-01", "quality_mos is '73'"),
        ("c.png,,good,,ann,2026-04-01", "quality_mos is 'good'"),
        ("c.png,,,rustik,ann,2026-04-01", "did you mean 'rustic'"),
        ("c.png,,0.5,,,2026-04-01", "nobody is named"),
        ("c.png,,0.5", "when is ''"),
        ("c.png,,0.5,,ann,yesterday", "when is 'yesterday'"),
        ("c.png,,0.5,,ann,2027-01-01", "in the future"),
        ("b.png,one,0.5,,ann,2026-04-01", "ann labels the same picture in row 2"),
    ],
)
def test_a_wrong_row_is_named_and_nothing_of_the_file_is_added(
    store: LabelStore, pictures: list[Picture], row: str, says: str
) -> None:
    with pytest.raises(LabelsRefused) as refused:
        add(store, pictures, f"b.png,,0.5,,ann,2026-04-01\n{row}\n")
    assert says in str(refused.value) and "row 3: " in str(refused.value)
    assert store.labels() == [] and not (store.folder / "images").exists()


def test_a_picture_that_has_gone_cannot_be_labelled(store: LabelStore, pictures: list[Picture]) -> None:
    pictures[1].location.write_bytes(b"something else")
    with pytest.raises(LabelsRefused, match="no longer what was scored"):
        add(store, pictures, "b.png,,0.5,,ann,2026-04-01\n")


def test_a_file_without_the_columns_it_needs_is_refused(store: LabelStore, pictures: list[Picture]) -> None:
    with pytest.raises(LabelsRefused, match="needs the columns"):
        add(store, pictures, "b.png,0.5\n", header="path,quality_mos\n")


def test_a_later_word_of_a_person_corrects_an_earlier_one_and_a_contradiction_is_refused(
    store: LabelStore, pictures: list[Picture]
) -> None:
    add(store, pictures, "b.png,,0.2,rustic,ann,2026-04-02\n")
    with pytest.raises(LabelsRefused, match=r"ann said quality_mos = 0.2 .* a correction needs a later"):
        add(store, pictures, "b.png,,0.4,,ann,2026-04-01\n")
    assert add(store, pictures, "b.png,,0.4,,ann,2026-04-03\n") == (1, 0, 0)
    assert add(store, pictures, "b.png,,0.6,modern,bo,2026-04-01\n") == (1, 0, 0)
    opinion = store.opinions()[pictures[1].image_id]
    assert opinion.quality_mos == pytest.approx(0.5), "the mean over people, of what each said last"
    assert opinion.style is None, "two people, two styles"
    add(store, pictures, "b.png,,,modern,cy,2026-04-01\n")
    assert store.opinions()[pictures[1].image_id].style == "modern"


def test_a_decision_is_a_label_that_people_may_dispute_and_no_training_learns_from(
    store: LabelStore, pictures: list[Picture]
) -> None:
    header = "path,decision,who,when\n"
    add(store, pictures, "b.png,Accept,ann,2026-04-02\n", header)
    opinion = store.opinions()[pictures[1].image_id]
    assert (opinion.decision, opinion.disputed, opinion.quality_mos) == ("accept", False, None)
    assert store.lessons() == {}
    add(store, pictures, "b.png,reject,bo,2026-04-02\n", header)
    opinion = store.opinions()[pictures[1].image_id]
    assert (opinion.decision, opinion.disputed) == (None, True)
    with pytest.raises(LabelsRefused, match="decision is 'maybe'; accept or reject is expected"):
        add(store, pictures, "b.png,maybe,cy,2026-04-02\n", header)


def test_labels_of_an_older_store_have_no_decision(store: LabelStore, pictures: list[Picture]) -> None:
    add(store, pictures, "b.png,,0.2,,ann,2026-04-02\n")
    entries = store.folder / ENTRIES
    entries.write_text(entries.read_text().replace(', "decision": null', ""))
    assert "decision" not in entries.read_text()
    assert store.opinions()[pictures[1].image_id].decision is None


def test_a_damaged_store_is_an_error_and_no_empty_store(store: LabelStore, pictures: list[Picture]) -> None:
    add(store, pictures, "b.png,,0.2,,ann,2026-04-02\n")
    with (store.folder / ENTRIES).open("a") as entries:
        entries.write('{"image_id": ')
    with pytest.raises(LabelStoreDamaged, match="line 2"):
        store.opinions()


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in ("PACKSHOT_SOURCE", "PACKSHOT_MIRROR", "PACKSHOT_SOURCES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PACKSHOT_PROJECT", str(PROJECT))
    monkeypatch.setenv("PACKSHOT_HOME", str(tmp_path / "home"))
    settings = load_settings(PROJECT / "params.yaml")
    source = settings.source.model_copy(update={"use": "mirror", "mirror": str(make_mirror(tmp_path / "mirror"))})
    drift = settings.drift.model_copy(update={"min_new_labels": 2})
    return settings.model_copy(update={"source": source, "drift": drift})


def test_labelled_pictures_enter_the_catalogue_once_and_outlive_the_inbox(
    settings: Settings, store: LabelStore, pictures: list[Picture], tmp_path: Path
) -> None:
    workspace = tmp_path / "workspace"
    collect(settings, workspace)
    add(store, pictures, "b.png,,0.5,,ann,2026-04-01\n")
    assert not collect(settings, workspace).changed, "one label is not worth a new revision"
    add(store, pictures, "a.png,two,,rustic,ann,2026-04-01\n")
    add(store, pictures, "b.png,,0.5,,bo,2026-04-01\n")
    for one in pictures:
        one.location.unlink()
    assert collect(settings, workspace).changed
    assert not collect(settings, workspace).changed
    manifest = read_manifest(workspace / "data/raw/manifest.parquet")
    rows = manifest[manifest["source"] == "inbox"].set_index("image_id")
    assert set(rows.index) == {pictures[1].image_id, pictures[2].image_id}
    labelled = rows.loc[pictures[1].image_id]
    assert (labelled["quality_mos"], labelled["title"], labelled["sender"]) == (0.5, "Chair", "s1")
    copied = (workspace / "data/raw/images" / labelled["path"]).read_bytes()
    assert hashlib.sha256(copied).hexdigest() == pictures[1].image_id
    validate(settings, workspace)
    valid = read_manifest(workspace / "data/valid/manifest.parquet")
    assert (valid["source"] == "inbox").sum() == 2


def test_a_labelled_picture_is_of_the_shop_whose_sender_it_has() -> None:
    rows = pd.DataFrame(
        {
            "source": ["own", "inbox"],
            "path": ["own/1.png", "inbox/2.png"],
            "image_id": ["1", "2"],
            "sender": ["s1", "s1"],
            "sku": ["x", "y"],
            "group": ["g1", "g2"],
            "split": ["test", "train"],
        }
    )
    with pytest.raises(SplitLeak, match="shop and sender"):
        check_no_leak(rows)
    check_no_leak(rows.assign(source=["clothing", "inbox"]))
