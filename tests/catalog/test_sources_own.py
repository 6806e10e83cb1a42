"""A user's own catalogue: columns, hostile paths, scores."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from tiny_mirror import make_mirror, picture

from packshot.catalog.collect import collect
from packshot.catalog.manifest import read_manifest
from packshot.catalog.shop.records import CatalogUnreadable
from packshot.catalog.source_record import SourceError, read_source
from packshot.config import Settings, load_settings

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    for number in range(4):
        picture(tmp_path / "shop" / "pictures" / f"p{number}.png", number)
    return tmp_path / "shop"


def run(shop: Path, text: str | bytes, columns: dict[str, str] | None = None) -> pd.DataFrame:
    catalog = shop / "my.csv"
    catalog.write_bytes(text.encode() if isinstance(text, str) else text)
    return run_file(catalog, columns)


def run_file(catalog: Path, columns: dict[str, str] | None = None) -> pd.DataFrame:
    settings: Settings = load_settings(PROJECT / "params.yaml")
    if columns:
        mapped = settings.catalog.model_copy(update={"columns": {**settings.catalog.columns, **columns}})
        settings = settings.model_copy(update={"catalog": mapped})
    workspace = catalog.parent.parent / "workspace"
    collect(settings, workspace, catalog=catalog)
    return read_manifest(workspace / "data/raw/manifest.parquet").set_index("path")


def test_columns_are_mapped_and_texts_kept(shop: Path) -> None:
    text = "bild,Artikel,titel,quality_mos,price\npictures/p0.png,A1,Kanne 1½,0.5,3\npictures/p1.png,A1,,,4\n"
    manifest = run(shop, text, {"path": "bild", "sku": "Artikel", "title": "titel"})
    first, second = manifest.loc["own/pictures/p0.png"], manifest.loc["own/pictures/p1.png"]
    assert (first["sku"], first["title"], first["quality_mos"]) == ("A1", "Kanne 1½", 0.5)
    assert second["title"] is None and pd.isna(second["quality_mos"])
    assert read_source(shop.parent / "workspace").profile == "own"


def borrowing(shop: Path, *sets: str) -> Settings:
    settings = load_settings(PROJECT / "params.yaml")
    own = settings.profiles["own"].model_copy(update={"sets": ("own", *sets), "quality": sets, "style": sets})
    mirror = make_mirror(shop.parent / "mirror")
    source = settings.source.model_copy(update={"use": "mirror", "mirror": str(mirror)})
    return settings.model_copy(update={"profiles": {**settings.profiles, "own": own}, "source": source})


def test_labels_are_borrowed_from_the_sets_that_the_profile_names(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACKSHOT_PROJECT", str(PROJECT))
    (shop / "my.csv").write_text("path,sku\npictures/p0.png,A1\npictures/p1.png,A2\n")
    settings, workspace = borrowing(shop, "biq2021", "furniture"), shop.parent / "workspace"
    report = collect(settings, workspace, catalog=shop / "my.csv")
    manifest = read_manifest(workspace / "data/raw/manifest.parquet")
    assert manifest["source"].value_counts().to_dict() == {"biq2021": 24, "furniture": 15, "own": 2}
    assert manifest["image_id"].notna().all()
    assert manifest.loc[manifest["source"] == "biq2021", "quality_mos"].notna().all()
    record = read_source(workspace)
    assert record.profile == "own" and set(record.sets) == {"own", "biq2021", "furniture"}
    assert "my.csv with biq2021, furniture of mirror" in record.chosen
    assert report.changed and not collect(settings, workspace, catalog=shop / "my.csv").changed
    assert collect(settings, workspace, catalog=shop / "my.csv", force=True).changed


def test_a_borrowed_set_that_the_source_lacks_is_named(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACKSHOT_PROJECT", str(PROJECT))
    (shop / "my.csv").write_text("path\npictures/p0.png\n")
    with pytest.raises(SourceError, match=r"profiles\.own\.sets names stamps, .* it has biq2021"):
        collect(borrowing(shop, "stamps"), shop.parent / "workspace", catalog=shop / "my.csv")


def test_parquet_is_read_as_well(shop: Path) -> None:
    frame = pd.DataFrame(
        {"path": ["pictures/p0.png", "pictures/p1.png"], "quality_mos": [0.25, None], "style": ["x", None]}
    )
    frame.to_parquet(shop / "my.parquet")
    manifest = run_file(shop / "my.parquet")
    assert manifest["quality_mos"].tolist()[0] == 0.25 and pd.isna(manifest["quality_mos"].tolist()[1])
    assert manifest["style"].tolist() == ["x", None]


@pytest.mark.parametrize(
    ("header", "named"),
    [
        ("paths,title", r"column 'path' .* is missing; did you mean 'paths'\?"),
        ("path,qualty_mos", r"column 'quality_mos' is missing; did you mean 'qualty_mos'\?"),
        ("thing,title", r"column 'path' .* is missing"),
        ("file,image", r"column 'path' .* it may be any of 'file', 'image'"),
        ("image_link,title", r"it may be 'image_link', which is not read"),
    ],
)
def test_a_misnamed_column_is_named_with_what_was_meant(shop: Path, header: str, named: str) -> None:
    with pytest.raises(CatalogUnreadable, match=named) as raised:
        run(shop, f"{header}\npictures/p0.png,1\n")
    assert raised.value.exit_code == 65


def test_a_mapped_column_that_the_file_lacks_is_an_error(shop: Path) -> None:
    with pytest.raises(CatalogUnreadable, match="column 'Marke', mapped to 'category'"):
        run(shop, "path\npictures/p0.png\n", {"category": "Marke"})


def test_bad_scores_and_hostile_paths_stay_rows(shop: Path) -> None:
    secret = shop.parent / "secret.png"
    picture(secret, 99)
    rows = [
        "pictures/p0.png,7",
        "pictures/p1.png,abc",
        "pictures/p2.png,NaN",
        f"../secret.png,1\n{secret},1",
        "gone.png,1",
    ]
    manifest = run(shop, "path,quality_mos\n" + "\n".join(rows) + "\n")
    assert len(manifest) == 6
    assert manifest.loc["own/pictures/p0.png", "quality_mos"] == 7
    # No finite number is never taken for "nobody rated": it stays out of range, where validation finds it.
    for path in ("own/pictures/p1.png", "own/pictures/p2.png"):
        assert manifest.loc[path, "quality_mos"] == float("inf")
    for path in ("own/../secret.png", str(secret), "own/gone.png"):
        assert manifest.loc[path, "image_id"] is None
    copied = {file.name for file in (shop.parent / "workspace/data/raw/images").rglob("*.png")}
    assert copied == {"p0.png", "p1.png", "p2.png"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            "path,title\npictures/p0.png,Кофейная чашка\n".encode("cp1251"),
            "nor of the western code page",
        ),
        (b"PK\x03\x04xl/workbook.xml", "a spreadsheet .* save it as CSV"),
        (b"path,title\ngone.png,x\n", "no row of .* names 'gone.png', the first file there is 'my.csv'"),
        (b"", "is empty"),
        (b"path,title\n", "empty catalogue"),
        (b'path,title\n"pictures/p0.png,x\n', "empty catalogue"),
        (b'path,"title\npictures/p0.png,x\n', "quote in the header, line 1, is never closed"),
    ],
)
def test_a_file_that_is_no_catalogue_is_refused_in_words(shop: Path, content: bytes, said: str) -> None:
    with pytest.raises(CatalogUnreadable, match=said):
        run(shop, content)


def test_a_missing_catalogue_is_named(shop: Path) -> None:
    with pytest.raises(CatalogUnreadable, match=r"no catalogue file .*nothing\.csv"):
        run_file(shop / "nothing.csv")


def test_it_says_what_cannot_be_trained(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(shop, "path\npictures/p0.png\n")
    said = capsys.readouterr().err
    assert "no quality_mos" in said and "no style" in said
