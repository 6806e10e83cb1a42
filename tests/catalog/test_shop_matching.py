"""Rows and files find each other however the path is spelt; what finds nothing is counted, named and explained."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pandas as pd
import pytest
from tiny_mirror import picture

from packshot.catalog.collect import collect
from packshot.catalog.manifest import read_manifest
from packshot.catalog.shop.matching import KnownFiles, read_facts, spellings
from packshot.catalog.shop.records import CatalogUnreadable
from packshot.config import Settings, load_settings
from packshot.scoring.listing import list_batch

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def settings() -> Settings:
    return load_settings(PROJECT / "params.yaml")


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    for number in range(3):
        picture(tmp_path / "shop" / "shoes" / f"a{number}.png", number)
    picture(tmp_path / "shop" / "shoes" / unicodedata.normalize("NFD", "Größe.png"), 7)
    return tmp_path / "shop"


def both(shop: Path, settings: Settings) -> tuple[dict[str, str | None], dict[str, str | None]]:
    """SKU by path, as `collect` and as `score` read `catalog.csv`."""
    workspace = shop.parent / "workspace"
    collect(settings, workspace, catalog=shop / "catalog.csv", force=True)
    manifest = read_manifest(workspace / "data/raw/manifest.parquet")
    manifest = manifest[manifest["image_id"].notna()]
    collected = dict(zip(manifest["path"].str.removeprefix("own/"), manifest["sku"], strict=True))
    listed = list_batch(shop, shop.parent / "out", None, settings.catalog)
    return collected, {file.path: file.facts["sku"] for file in listed if "sku" in file.facts}


@pytest.mark.parametrize(
    "spelt",
    [
        "shoes/{}",
        "./shoes/{}",
        "/shoes/{}",
        "shoes\\{}",
        ".\\shoes\\{}",
        "shoes//{}",
        " shoes/{} ",
        "{root}/shoes/{}",
        "{linked}/shoes/{}",
    ],
)
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_collect_and_score_find_the_same_file_however_it_is_spelt(
    shop: Path, settings: Settings, capsys: pytest.CaptureFixture[str], spelt: str, form: str
) -> None:
    (shop.parent / "linked").symlink_to(shop)
    names = ["a0.png", "a1.png", "a2.png", unicodedata.normalize(form, "Größe.png")]
    paths = [spelt.format(name, root=shop, linked=shop.parent / "linked") for name in names]
    table = pd.DataFrame({"path": paths, "sku": ["00", "01", "02", "NA"]})
    table.to_csv(shop / "catalog.csv", index=False)
    collected, scored = both(shop, settings)
    expected = {"shoes/a0.png": "00", "shoes/a1.png": "01", "shoes/a2.png": "02"}
    expected[unicodedata.normalize("NFD", "shoes/Größe.png")] = "NA"
    assert collected == scored == expected
    told = capsys.readouterr().err
    assert "name no file" not in told and "have no row" not in told


def test_rows_without_a_file_and_files_without_a_row_are_counted_named_and_explained(
    shop: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ["shoes/a0.png,1", "shoes/A1.PNG,2", "shoes/a2.jpeg,3", "boots/a0.png,4", "https://x.example/a1.png,5"]
    rows += ["../a9.png,6", "shoes/zz.png,7", "shoes/a0.png,8"]
    (shop / "catalog.csv").write_text("path,sku\n" + "\n".join(rows) + "\n")
    for told in (_collected, _listed):
        told(shop, settings)
        said = capsys.readouterr().err
        assert f"catalog.csv: 6 row(s) name no file below {shop}: " in said
        assert "'shoes/A1.PNG' (the file 'shoes/a1.png' differs in upper and lower case)" in said
        assert "'shoes/a2.jpeg' (the file 'shoes/a2.png' differs in its ending)" in said
        assert "'boots/a0.png' (the file 'shoes/a0.png' is in another folder)" in said
        assert "'https://x.example/a1.png' (it is an address; the path of a file is expected)" in said
        assert "'../a9.png' (it leads out of the folder); and 1 more" in said
        assert "1 row(s) name a file that an earlier row names, which counts; the first is line 9" in said
        assert "3 file(s) have no row: " in said
        assert "'shoes/a1.png' (the row 'shoes/A1.PNG' differs in upper and lower case)" in said
        assert "(no row has a name like it)" in said  # Größe.png


def _collected(shop: Path, settings: Settings) -> None:
    collect(settings, shop.parent / "workspace", catalog=shop / "catalog.csv", force=True)


def _listed(shop: Path, settings: Settings) -> None:
    files = list_batch(shop, shop.parent / "out", None, settings.catalog)
    assert [file.facts.get("sku") for file in files if file.path == "shoes/a0.png"] == ["1"]


@pytest.mark.parametrize("told", [_collected, _listed])
def test_a_catalogue_of_which_no_row_has_a_file_is_an_error_with_the_first_path_on_each_side(
    shop: Path, settings: Settings, told: object
) -> None:
    (shop / "catalog.csv").write_text("path,sku\nboots/a0.png,1\nboots/a1.png,2\n")
    with pytest.raises(CatalogUnreadable, match=r"'boots/a0\.png', the first file there is .*another folder") as raised:
        told(shop, settings)  # type: ignore[operator]
    assert raised.value.exit_code == 65


def test_a_batch_may_bring_its_catalogue_as_parquet(shop: Path, settings: Settings) -> None:
    frame = pd.DataFrame({"path": ["shoes/a0.png", "shoes/a1.png"], "sku": [123.0, None]})
    frame.to_parquet(shop / "catalog.parquet")
    files = list_batch(shop, shop.parent / "out", None, settings.catalog)
    assert [file.facts.get("sku") for file in files] == [None, "123", None, None]
    assert "catalog.parquet" not in [file.path for file in files]


def test_a_name_that_holds_a_backslash_is_found_as_it_is_written(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "c.csv").write_text("path,sku\na\\b.png,1\n")
    assert read_facts(tmp_path / "c.csv", settings.catalog, KnownFiles(["a\\b.png", "a/b.png"])) == {
        "a\\b.png": {"sku": "1"}
    }


def test_a_path_outside_is_never_taken_for_one_below(tmp_path: Path) -> None:
    root = str(tmp_path)
    assert set(spellings("../x.png", root)) == {"../x.png"}
    assert "x.png" not in set(spellings(f"{root}/../x.png", root))


def test_a_picture_replaced_by_another_of_the_same_size_and_time_is_a_change(shop: Path, settings: Settings) -> None:
    (shop / "catalog.csv").write_text("path,sku\nshoes/a0.png,1\nshoes/a1.png,2\n")
    workspace, target = shop.parent / "workspace", shop / "shoes" / "a0.png"
    collect(settings, workspace, catalog=shop / "catalog.csv")
    assert not collect(settings, workspace, catalog=shop / "catalog.csv").changed
    before, content = target.stat(), bytearray(target.read_bytes())
    content[-20] ^= 1
    target.write_bytes(bytes(content))
    os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert target.stat().st_size == before.st_size
    assert collect(settings, workspace, catalog=shop / "catalog.csv").changed
