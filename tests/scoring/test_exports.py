from __future__ import annotations

import base64
import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sample_verdicts import broken, finding, verdict, write_verdicts
from typer.testing import CliRunner

from packshot.cli import app
from packshot.config import Settings, load_settings
from packshot.exports.best import write_best
from packshot.exports.feed import FEED_SCHEMA, write_feed
from packshot.exports.output import OutputNotOurs, own_name, safe_name
from packshot.exports.sellers import write_sellers
from packshot.exports.source import NothingToExport, VerdictFile, VerdictsMixed, open_verdicts
from packshot.exports.styles import month_of, write_styles
from packshot.scoring import verdicts
from packshot.scoring.verdicts import VerdictsUnreadable


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load_settings(Path(__file__).resolve().parents[2] / "params.yaml")


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACKSHOT_HOME", str(tmp_path / "home"))


def opened(folder: Path, *rows: dict[str, Any], **lineage: Any) -> list[VerdictFile]:
    return open_verdicts([write_verdicts(folder, rows, **lineage)])


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def test_files_without_a_row_are_nothing_to_export(tmp_path: Path) -> None:
    empty = write_verdicts(tmp_path / "empty", [])
    with pytest.raises(NothingToExport) as caught:
        open_verdicts([empty])
    assert caught.value.exit_code == 99
    full = write_verdicts(tmp_path / "full", [verdict("a.jpg")])
    assert [file.folder for file in open_verdicts([empty, full / "verdicts.parquet"])] == [full]
    (full / "verdicts.parquet").write_bytes(b"PAR1 cut off")
    with pytest.raises(VerdictsUnreadable):
        open_verdicts([full])


def test_a_batch_given_twice_is_refused(tmp_path: Path) -> None:
    twice = [write_verdicts(tmp_path / name, [verdict("a.jpg")], version=v) for name, v in (("a", 1), ("b", 2))]
    with pytest.raises(VerdictsMixed, match="same batch"):
        open_verdicts(twice)


def test_older_files_read_with_nulls_for_what_they_lack(tmp_path: Path) -> None:
    folder = write_verdicts(tmp_path / "old", [verdict("a.jpg")])
    table = pq.read_table(folder / "verdicts.parquet").drop_columns(["findings", "duplicate_of"])
    pq.write_table(table, folder / "verdicts.parquet")
    (file,) = open_verdicts([folder])
    assert list(file.each(["path", "duplicate_of", "findings"])) == [
        {"path": "a.jpg", "duplicate_of": None, "findings": None}
    ]


def test_a_long_file_is_never_held_whole(tmp_path: Path) -> None:
    folder = write_verdicts(tmp_path / "v", [verdict("a.jpg")])
    one = pq.read_table(folder / "verdicts.parquet")
    vectors = np.random.default_rng(1).normal(size=64 * 384).astype(np.float32)
    wide = pa.ListArray.from_arrays(np.arange(0, 64 * 384 + 1, 384, dtype=np.int32), vectors)
    part = pa.concat_tables([one] * 64).set_column(one.schema.get_field_index("style_vector"), "style_vector", wide)
    with pq.ParquetWriter(folder / "verdicts.parquet", part.schema) as writer:
        for _ in range(400):
            writer.write_table(part)
    (file,) = open_verdicts([folder])
    before = pa.total_allocated_bytes()
    held = [pa.total_allocated_bytes() - before for _ in file.batches(["path", "style_vector"])]
    assert len(held) == 25 and max(held) < 15_000_000 < file.rows * 384 * 4 / 2


def test_feed_weight_rises_with_the_lower_bound_and_knows_decisions(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verdicts, "ROWS_TOGETHER", 4)
    rising = [verdict(f"{i:02d}.jpg", quality=i / 10, quality_high=1.0, sku="S") for i in range(11)]
    others = [
        verdict("enhanced.jpg", "enhance", 0.5, quality_after=0.9, enhanced_path="enhanced/enhanced.jpg"),
        verdict("review.jpg", "review", 0.9),
        verdict("copy.jpg", quality=0.9, sku="S", duplicate_of="10.jpg"),
        verdict("rejected.jpg", "reject", 0.9, findings=[finding("watermark", "Remove the mark.", "reject")] * 2),
        verdict("tried.jpg", "review", 0.5, quality_after=0.9),
        broken("broken.jpg"),
    ]
    files = opened(tmp_path / "v", *rising, *others)
    report = write_feed(settings.exports, files, tmp_path / "feed.parquet")
    table = pq.read_table(tmp_path / "feed.parquet")
    assert table.schema.equals(FEED_SCHEMA) and table.num_rows == 17 == report["rows"]
    weights = dict(zip(table["path"].to_pylist(), table["quality_weight"].to_pylist(), strict=True))
    ladder = [weights[f"{i:02d}.jpg"] for i in range(11)]
    assert ladder == sorted(ladder) and ladder[0] == 0.0 and ladder[10] == pytest.approx(0.9)
    assert weights["enhanced.jpg"] == pytest.approx(0.8)
    assert weights["review.jpg"] == pytest.approx(0.4) and weights["tried.jpg"] == pytest.approx(0.2)
    assert weights["copy.jpg"] == pytest.approx(0.2)
    assert weights["rejected.jpg"] == weights["broken.jpg"] == 0.0
    flags = dict(zip(table["path"].to_pylist(), table["demotions"].to_pylist(), strict=True))
    assert flags["10.jpg"] == [] and flags["copy.jpg"] == ["duplicate"] and flags["review.jpg"] == ["in_review"]
    assert flags["rejected.jpg"] == ["rejected", "finding:watermark"]
    assert flags["broken.jpg"] == ["not_judged", "rejected"]


def test_feed_refuses_vectors_of_two_models(tmp_path: Path, settings: Settings) -> None:
    first = write_verdicts(tmp_path / "a", [verdict("a.jpg")], batch_id="a", version=None, digest="a" * 64)
    second = write_verdicts(tmp_path / "b", [verdict("a.jpg")], batch_id="b", version=None, digest="b" * 64)
    with pytest.raises(VerdictsMixed, match="2 models"):
        write_feed(settings.exports, open_verdicts([first, second]), tmp_path / "feed.parquet")
    assert not (tmp_path / "feed.parquet").exists()


def test_best_is_never_rejected_nor_a_copy_of_what_is_shown(tmp_path: Path) -> None:
    files = opened(
        tmp_path / "v",
        verdict("a1.jpg", "reject", 0.99, sku="A"),
        verdict("a2.jpg", "accept", 0.95, sku="A", duplicate_of="a3.jpg"),
        verdict("a3.jpg", "accept", 0.70, sku="A"),
        verdict("a4.jpg", "review", 0.98, sku="A"),
        verdict("a5.jpg", "enhance", 0.5, sku="A", quality_after=0.8, enhanced_path="enhanced/a5.jpg"),
        verdict("b1.jpg", "reject", 0.9, sku="B"),
        broken("b2.jpg", sku="B"),
        verdict("c1.jpg", "accept", 0.7, sku="C", duplicate_of="x.jpg"),
        verdict("none.jpg"),
    )
    report = write_best(files, tmp_path / "best.csv")
    assert report["skus"] == 3 and report["without_picture"] == 1 and report["rows_without_sku"] == 1
    a, b, c = read_csv(tmp_path / "best.csv")
    assert (a["path"], a["enhanced_path"], a["second_path"]) == ("a5.jpg", "enhanced/a5.jpg", "a3.jpg")
    assert float(a["quality_low"]) == pytest.approx(0.7) and a["pictures"] == "5"
    assert b["path"] == "" and "rejected" in b["why"]
    assert c["path"] == "c1.jpg", "the picture in its place is not among the verdicts"


def test_style_shares_sum_to_one_and_unsure_pictures_are_unknown(tmp_path: Path, settings: Settings) -> None:
    files = opened(
        tmp_path / "v",
        verdict("a.jpg", category="$Chair$", style_confidence=0.9),
        verdict("b.jpg", category="$Chair$", style_confidence=0.3),
        verdict("c.jpg", category="$Chair$", style="modern", style_confidence=0.6, sku="C"),
        verdict("d.jpg", category="$Chair$", sku="C", duplicate_of="c.jpg"),
        verdict("e.jpg"),
        broken("f.jpg", category="$Chair$"),
    )
    months = {name: month_of(date) for name, date in {"a.jpg": "2026-01-31", "b.jpg": "2026-01-02T10:00"}.items()}
    report = write_styles(settings.exports, files, tmp_path / "dated", months)
    assert report["images"] == 4 and report["without_date"] == 2
    write_styles(settings.exports, files, tmp_path / "styles")
    rows = read_csv(tmp_path / "styles" / "styles.csv")
    chairs = {row["style"]: row for row in rows if row["category"] == "$Chair$"}
    assert {row["month"] for row in rows} == {"2026-03"}
    assert {name: row["images"] for name, row in chairs.items()} == {"rustic": "1", "modern": "1", "unknown": "1"}
    for share in ("share", "weighted_share"):
        assert sum(float(row[share]) for row in chairs.values()) == pytest.approx(1, abs=1e-4)
    assert float(chairs["rustic"]["weighted_share"]) == pytest.approx(0.4)
    assert (tmp_path / "styles" / "styles_by_category.png").read_bytes()[:4] == b"\x89PNG"
    assert month_of("31/12/2026") == month_of(None) == "unknown"


def test_sellers_with_hostile_names_get_a_page_of_their_own(tmp_path: Path, settings: Settings) -> None:
    names = ["../../etc/passwd", "<script>alert(1)</script>", "..", "a/b", "a_b", "x" * 300, '=HYPERLINK("http://x")']
    white = finding("white_ground", "Use a white background.")
    rows = [verdict(f"{i}.jpg", sender=name, sku=f"S{i}", findings=[white]) for i, name in enumerate(names)]
    rows += [verdict("r.jpg", "reject", 0.2, sender="..", reasons=["low_quality: 0.20 is below 0.60", "no_gain: x"])]
    noted = {"findings": [finding("border", "Crop the border.", "note")], "sender": "both"}
    told = ["border: Crop the border.", "low_sharpness: 0.20 is below 0.50"]
    rows += [verdict("n.jpg", "review", 0.4, reasons=told, **noted)]
    rows += [verdict("ok.jpg", sender="fine", reasons=["low_detail: 0.40 is below 0.50"]), broken("b.jpg")]
    out = tmp_path / "sellers"
    write_sellers(settings.exports, opened(tmp_path / "v", *rows), out)
    pages = [page for page in out.glob("*.html") if page.name != "index.html"]
    assert len(pages) == len(names) + 3 and not (tmp_path / "etc").exists()
    text = "".join(page.read_text(encoding="utf-8") for page in out.glob("*.html"))
    assert "<script" not in text and "Use a white background." in text
    found = read_csv(out / "sellers.csv")
    assert not any(row["seller"].startswith("=") for row in found)
    dots = [row["fault"] for row in found if row["seller"] == ".."]
    assert dots == ["low_quality", "white_ground"]
    assert not any(row["seller"] == "fine" for row in found)
    assert [row["fault"] for row in found if row["seller"] == "both"] == ["border", "low_sharpness"]
    assert [row["fault"] for row in found if row["seller"].startswith("(no")] == ["not_an_image"]


def test_a_seller_sees_the_pictures_that_are_meant(tmp_path: Path, settings: Settings) -> None:
    """The same path stands in two batches, and one picture has no preview."""
    fault = [finding("blur", "Blurred.")]
    monday = [verdict("a.jpg", "reject", findings=fault, sender="eve", preview=b"monday")]
    monday += [verdict("b.jpg", "reject", findings=fault, sender="eve")]
    tuesday = [verdict("a.jpg", "reject", findings=fault, sender="ada", preview=b"tuesday")]
    folders = [write_verdicts(tmp_path / "m", monday), write_verdicts(tmp_path / "t", tuesday, batch_id="tuesday")]
    write_sellers(settings.exports, open_verdicts(folders), tmp_path / "out")
    pages = {file.name.split("-")[0]: file.read_text() for file in (tmp_path / "out").glob("*-*.html")}
    first, second = (base64.b64encode(content).decode() for content in (b"monday", b"tuesday"))
    assert first in pages["eve"] and second not in pages["eve"] and pages["eve"].count("<img") == 1
    assert second in pages["ada"] and first not in pages["ada"]


def test_sellers_are_told_the_commonest_first_with_the_worst_pictures(tmp_path: Path, settings: Settings) -> None:
    white, small = finding("white_ground", "Use a white background."), finding("size", "Send 1000 pixels.")
    rows = [verdict(f"{i}.jpg", sender="s", quality=0.9 - i / 20, findings=[white]) for i in range(9)]
    rows += [verdict(f"t{i}.jpg", sender="s", findings=[small, white]) for i in range(2)]
    write_sellers(settings.exports, opened(tmp_path / "v", *rows), tmp_path / "out")
    first, second = read_csv(tmp_path / "out" / "sellers.csv")
    assert (first["fault"], first["images"], second["fault"], second["images"]) == ("white_ground", "11", "size", "2")
    assert first["example_paths"].split(" | ") == [f"{i}.jpg" for i in (8, 7, 6, 5, 4)]
    assert len(read_csv(tmp_path / "out" / "pictures.csv")) == 13


def test_an_export_replaces_only_one_of_its_kind(tmp_path: Path, settings: Settings) -> None:
    files = opened(tmp_path / "v", verdict("a.jpg", sender="one"))
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputNotOurs):
        write_sellers(settings.exports, files, mine)
    assert (mine / "thesis.txt").exists()
    out = tmp_path / "out"
    write_sellers(settings.exports, files, out)
    other = opened(tmp_path / "w", verdict("a.jpg", sender="two"))
    write_sellers(settings.exports, other, out)
    assert [page.name[:3] for page in out.glob("*.html") if page.name != "index.html"] == ["two"]
    with pytest.raises(OutputNotOurs, match="sellers"):
        write_styles(settings.exports, files, out)


def test_what_a_killed_export_left_goes_and_nothing_of_the_user(tmp_path: Path, settings: Settings) -> None:
    files = opened(tmp_path / "v", verdict("a.jpg", sender="one"))
    left, theirs = tmp_path / ".out.abcd1234", [tmp_path / ".out.backup12", tmp_path / ".out.d"]
    for folder in (left, *theirs):
        folder.mkdir()
        (folder / "notes.txt").write_text("mine")
    (left / "export.json").write_text("{}")
    write_sellers(settings.exports, files, tmp_path / "out")
    assert not left.exists() and all((folder / "notes.txt").exists() for folder in theirs)


def test_commands_print_one_json_line(tmp_path: Path) -> None:
    folder = write_verdicts(tmp_path / "v", [verdict("a.jpg", sku="A"), verdict("b.jpg", style_vector=[0.0, 1.0, 0.0])])
    run, given = CliRunner(), ["--verdicts", str(folder)]
    for command, key in (
        (["export", "best", "--out", str(tmp_path / "best.csv"), *given], "best"),
        (["export", "styles", "--out", str(tmp_path / "styles"), *given], "styles"),
        (["index", *given], "pictures"),
        (["similar", "a.jpg", *given], "hits"),
        (["why", "a.jpg", "--json", *given], "missing"),
    ):
        result = run.invoke(app, command, catch_exceptions=False)
        assert result.exit_code == 0 and key in json.loads(result.stdout)
    again = run.invoke(app, ["index", *given])
    assert again.exit_code == 99
    assert "Not on record" in run.invoke(app, ["why", "a.jpg", *given]).stdout


def test_names_are_safe_and_different() -> None:
    for name in ("..", ".hidden", "a/b", "", "\0", " ", "x" * 500, "CON\n"):
        safe = safe_name(name)
        assert safe and not safe.startswith(".") and not set(safe) & set("/\\\0\n") and len(safe) <= 60
    assert own_name("a/b") != own_name("a_b")
