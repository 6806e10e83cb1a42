from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms
from sample_batch import picture, save
from sample_verdicts import verdict, write_verdicts

from packshot.config import Settings, load_settings
from packshot.exports import renditions as module
from packshot.exports.pictures import PicturesGone, Shown, digest_of
from packshot.exports.renditions import write_renditions
from packshot.exports.source import open_verdicts
from packshot.exports.tree import LayoutUnknown, write_tree

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.fixture(scope="module")
def settings() -> Settings:
    read = load_settings(Path(__file__).resolve().parents[2] / "params.yaml")
    exports = read.exports.model_copy(update={"renditions": {"thumb": 32, "zoom": 400}})
    return read.model_copy(update={"exports": exports})


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACKSHOT_HOME", str(tmp_path / "home"))


class Batch:
    """Pictures on disk with the verdicts on them."""

    def __init__(self, root: Path, batch_id: str = "monday") -> None:
        self.images, self.out, self.batch_id = root / "images", root / "out", batch_id
        self.rows: list[dict[str, Any]] = []

    def add(self, path: str, decision: str = "accept", level: int = 120, **more: Any) -> Path:
        options = more.pop("options", {})
        file = save(self.images / path, picture(level, len(self.rows), (60, 90)), **options)
        self.rows.append(verdict(path, decision, image_id=digest_of(file), **more))
        return file

    def files(self) -> list[Any]:
        write_verdicts(self.out, self.rows, batch_id=self.batch_id, images=self.images)
        return open_verdicts([self.out])


@pytest.fixture
def batch(tmp_path: Path) -> Batch:
    made = Batch(tmp_path)
    made.add("a/one.jpg", category="Chair", sku="S", options={"icc_profile": SRGB})
    made.add("b/one.png", category="Chair")
    made.add("b/ONE.jpg", category="Chair")
    made.add("c/bad.jpg", "reject", category="Chair")
    made.add("c/wait.jpg", "review", category="Chair")
    made.add("c/copy.jpg", category="Chair", sku="S", duplicate_of="a/one.jpg")
    made.add("d/dark.jpg", "enhance", level=30, category="../../up", style="<b>", enhanced_path="enhanced/d/dark.jpg")
    save(made.out / "enhanced/d/dark.jpg", picture(180, 7, (60, 90)))
    return made


def everything(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def test_tree_holds_what_is_shown_and_nothing_outside(tmp_path: Path, batch: Batch, settings: Settings) -> None:
    before = everything(batch.images)
    report = write_tree(settings.exports, batch.files(), tmp_path / "tree")
    rows = read_csv(tmp_path / "tree" / "tree.csv")
    assert report["pictures"] == 4 and report["left_out"] == 0
    assert [row["path"] for row in rows] == ["a/one.jpg", "b/one.png", "b/ONE.jpg", "d/dark.jpg"]
    assert everything(tmp_path / "tree") == {row["file"] for row in rows} | {"tree.csv", "export.json"}
    assert len({row["file"].casefold() for row in rows}) == 4
    assert rows[0]["file"] == "pictures/accept/Chair/rustic/one.jpg" and ".." not in rows[3]["file"].split("/")
    dark = np.asarray(Image.open(tmp_path / "tree" / rows[3]["file"]))
    assert dark.mean() > 150, "the enhanced picture stands there, not the input"
    assert (tmp_path / "tree" / rows[0]["file"]).samefile(batch.images / "a/one.jpg")
    assert everything(batch.images) == before


def test_tree_copies_on_request_and_leaves_out_what_is_not_what_was_judged(
    tmp_path: Path, batch: Batch, settings: Settings
) -> None:
    files = batch.files()
    save(batch.images / "a/one.jpg", picture(10, 3))
    (batch.images / "b/one.png").unlink()
    report = write_tree(settings.exports, files, tmp_path / "tree", "{sku}{batch}", "copy")
    assert report["left_out"] == 2 and report["pictures"] == 2
    assert not (tmp_path / "tree/pictures/unknownmonday/ONE.jpg").samefile(batch.images / "b/ONE.jpg")
    with pytest.raises(LayoutUnknown, match="price"):
        write_tree(settings.exports, files, tmp_path / "other", "{price}")
    with pytest.raises(LayoutUnknown):
        write_tree(settings.exports, files, tmp_path / "other", "{style:>9}")


def test_a_path_that_leads_out_is_left_out(tmp_path: Path, batch: Batch, settings: Settings) -> None:
    save(tmp_path / "secret.jpg", picture(90))
    batch.rows.append(verdict("../secret.jpg", image_id=digest_of(tmp_path / "secret.jpg")))
    report = write_tree(settings.exports, batch.files(), tmp_path / "tree")
    assert report["examples_left_out"] == ["../secret.jpg"]


def test_pictures_that_moved_are_asked_for(tmp_path: Path, batch: Batch, settings: Settings) -> None:
    files = batch.files()
    moved = batch.images.rename(tmp_path / "elsewhere")
    with pytest.raises(PicturesGone, match="--images"):
        write_tree(settings.exports, files, tmp_path / "tree")
    assert not (tmp_path / "tree").exists()
    assert write_tree(settings.exports, files, tmp_path / "tree", images=moved)["pictures"] == 4
    with pytest.raises(PicturesGone, match="not of 2"):
        write_tree(settings.exports, files * 2, tmp_path / "tree", images=moved)


def test_renditions_have_their_sizes_and_are_never_enlarged(tmp_path: Path, batch: Batch, settings: Settings) -> None:
    report = write_renditions(settings, batch.files(), tmp_path / "r")
    rows = {(row["path"], row["size"]): row for row in read_csv(tmp_path / "r" / "renditions.csv")}
    assert report["made"] == report["renditions"] == len(rows) == 8
    thumb = Image.open(tmp_path / "r" / rows["a/one.jpg", "thumb"]["file"])
    assert thumb.size == (32, 21) and thumb.format == "JPEG" and thumb.info["icc_profile"] == SRGB
    assert Image.open(tmp_path / "r" / rows["a/one.jpg", "zoom"]["file"]).size == (90, 60)
    assert rows["d/dark.jpg", "zoom"]["source"] == "enhanced"
    assert np.asarray(Image.open(tmp_path / "r" / rows["d/dark.jpg", "zoom"]["file"])).mean() > 150
    assert {path for path, _ in rows} == {"a/one.jpg", "b/one.png", "b/ONE.jpg", "d/dark.jpg"}


@pytest.mark.parametrize("placing", ["link", "copy"])
def test_a_picture_that_changes_or_goes_away_while_it_is_placed_is_left_out(
    tmp_path: Path, batch: Batch, settings: Settings, monkeypatch: pytest.MonkeyPatch, placing: Any
) -> None:
    def change(picture: Any) -> Path:
        file = locate(picture)
        if picture.path in ("a/one.jpg", "d/dark.jpg"):
            file.write_bytes(file.read_bytes() + b"more")
        if picture.path == "b/one.png":
            file.unlink()
        return file

    batch.rows[-1]["enhanced_id"] = digest_of(batch.out / "enhanced/d/dark.jpg")
    files, locate = batch.files(), Shown.locate
    monkeypatch.setattr(Shown, "locate", change)
    report = write_tree(settings.exports, files, tmp_path / "tree", placing=placing)
    assert (report["pictures"], report["left_out"]) == (1, 3)
    placed = {row["file"] for row in read_csv(tmp_path / "tree" / "tree.csv")}
    assert everything(tmp_path / "tree") == {"tree.csv", "export.json"} | placed and len(placed) == 1


def test_an_enhanced_picture_that_is_not_the_one_that_was_made_is_not_shown(
    tmp_path: Path, batch: Batch, settings: Settings
) -> None:
    enhanced = batch.out / "enhanced/d/dark.jpg"
    batch.rows[-1]["enhanced_id"] = digest_of(enhanced)
    files = batch.files()
    assert write_renditions(settings, files, tmp_path / "r")["made"] == 8
    save(enhanced, picture(40, 9, (60, 90)))
    assert write_tree(settings.exports, files, tmp_path / "tree")["examples_left_out"] == ["d/dark.jpg"]
    assert write_renditions(settings, files, tmp_path / "other")["pictures_left_out"] == 1


def test_renditions_are_made_from_the_bytes_that_were_checked(
    tmp_path: Path, batch: Batch, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(source: Any, *arguments: Any, **options: Any) -> Any:
        save(batch.images / "a/one.jpg", picture(10, 3, (60, 90)))
        return inspect(source, *arguments, **options)

    inspect = module.inspect
    monkeypatch.setattr(module, "inspect", change)
    write_renditions(settings, batch.files(), tmp_path / "r")
    made = Image.open(tmp_path / "r/zoom/monday/a/one.jpg")
    assert np.asarray(made).mean() > 100 and made.info["icc_profile"] == SRGB


def test_renditions_go_on_after_a_kill_and_follow_changes(
    tmp_path: Path, batch: Batch, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, encode, written = batch.files(), module.encode, []

    def killed(image: Any, path: Path, **options: Any) -> None:
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(path)
        encode(image, path, **options)

    monkeypatch.setattr(module, "encode", killed)
    with pytest.raises(KeyboardInterrupt):
        write_renditions(settings, files, tmp_path / "r")
    assert not (tmp_path / "r" / "renditions.csv").exists()
    monkeypatch.setattr(module, "encode", encode)
    second = write_renditions(settings, files, tmp_path / "r")
    assert (second["made"], second["found"]) == (5, 3)
    assert write_renditions(settings, files, tmp_path / "r")["made"] == 0
    batch.rows[0] |= {"decision": "reject"}
    save(batch.out / "enhanced/d/dark.jpg", picture(200, 9, (60, 90)), quality=80)
    third = write_renditions(settings, batch.files(), tmp_path / "r")
    assert (third["made"], third["found"], third["removed"]) == (4, 4, 2), "the copy of what is rejected is shown now"
    assert not list((tmp_path / "r").glob("*/monday/a/one.jpg"))
    smaller = settings.exports.model_copy(update={"renditions": {"thumb": 20, "zoom": 400}})
    changed = settings.model_copy(update={"exports": smaller})
    assert write_renditions(changed, files, tmp_path / "r")["made"] == 4


def test_what_a_killed_run_wrote_last_is_not_left_behind(
    tmp_path: Path, batch: Batch, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = module.encode

    def killed(image: Any, path: Path, **options: Any) -> None:
        encode(image, path, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "encode", killed)
    with pytest.raises(KeyboardInterrupt):
        write_renditions(settings, batch.files(), tmp_path / "r")
    monkeypatch.setattr(module, "encode", encode)
    assert (tmp_path / "r/zoom/monday/a/one.jpg").exists()
    batch.rows[0] |= {"decision": "reject"}
    write_renditions(settings, batch.files(), tmp_path / "r")
    assert not (tmp_path / "r/zoom/monday/a/one.jpg").exists()
