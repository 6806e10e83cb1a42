"""The public repositories, from local git repositories in their layouts."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pandas as pd
import pytest
import yaml
from public_repositories import build, commit
from tiny_mirror import make_mirror

from packshot.catalog.collect import collect
from packshot.catalog.manifest import read_manifest
from packshot.catalog.source_record import SourceError, read_source
from packshot.catalog.sources import public
from packshot.catalog.sources.declared import read_sources
from packshot.config import Settings, load_settings

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    return make_mirror(tmp_path / "mirror")


@pytest.fixture
def declaration(tmp_path: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = build(mirror, tmp_path / "repositories", PROJECT / "data/sources.yaml")
    monkeypatch.setenv("PACKSHOT_SOURCES", str(path))
    monkeypatch.setenv("PACKSHOT_HOME", str(tmp_path / "home"))
    return path


def settings() -> Settings:
    base = load_settings(PROJECT / "params.yaml")
    source = base.source.model_copy(update={"use": "public"})
    unheld = base.profiles["public"].model_copy(update={"held_back": {}})
    return base.model_copy(update={"source": source, "profiles": {**base.profiles, "public": unheld}})


def change(declaration: Path, name: str, **values: object) -> None:
    declared = yaml.safe_load(declaration.read_text())
    declared["sets"][name]["public"].update(values)
    declaration.write_text(yaml.safe_dump(declared))


def test_the_public_layouts_give_the_labels_of_the_mirror(tmp_path: Path, mirror: Path, declaration: Path) -> None:
    collect(settings(), tmp_path / "workspace")
    manifest = read_manifest(tmp_path / "workspace/data/raw/manifest.parquet")
    record = read_source(tmp_path / "workspace")
    assert record.profile == "public" and len(record.sets["grocery"].commit or "") == 40

    def labels_of(name: str, *columns: str) -> set[tuple[object, ...]]:
        rows = manifest[manifest["source"] == name]
        return set(zip(rows["image_id"], *(rows[column] for column in columns), strict=True))

    def mirrored(name: str, *columns: str) -> set[tuple[object, ...]]:
        table = pd.read_csv(mirror / name / "labels.csv", dtype=str)
        digests = [hashlib.sha256((mirror / name / "images" / file).read_bytes()).hexdigest() for file in table["file"]]
        return set(zip(digests, *(table[column] for column in columns), strict=True))

    assert labels_of("furniture", "style") == mirrored("furniture", "style")
    assert labels_of("clothing", "sender", "category") == mirrored("clothing", "sender_id", "category")
    assert labels_of("grocery", "title", "category", "description") == mirrored(
        "grocery", "name", "category", "description"
    )
    scored = {(digest, subset, f"{mos:.4f}") for digest, subset, mos in labels_of("biq2021", "subset", "quality_mos")}
    assert scored == mirrored("biq2021", "subset", "mos")


def test_a_broken_fetch_goes_on_and_a_damaged_file_is_fetched_anew(tmp_path: Path, declaration: Path) -> None:
    sets = read_sources(declaration).of(("furniture",), declaration)
    downloads = tmp_path / "downloads"
    images = public.read_public(sets, downloads, seed=1).images
    first, second = (Path(images["origin"][row]) for row in (0, 1))
    whole = first.read_bytes()
    first.write_bytes(whole[:50])
    untouched = second.stat().st_mtime_ns
    public.read_public(sets, downloads, seed=1)
    assert first.read_bytes() == whole and second.stat().st_mtime_ns == untouched


def test_only_drawn_images_are_fetched(tmp_path: Path, declaration: Path) -> None:
    change(declaration, "clothing", limit=6)
    change(declaration, "biq2021", limit=12)
    sets = read_sources(declaration).of(("clothing", "biq2021"), declaration)
    images = public.read_public(sets, tmp_path / "downloads", seed=3).images
    again = public.read_public(sets, tmp_path / "downloads", seed=3).images
    pd.testing.assert_frame_equal(images, again)
    on_disk = {file.name for file in (tmp_path / "downloads").rglob("*.jpg")}
    assert on_disk == {Path(origin).name for origin in images["origin"]}
    senders = images[images["source"] == "clothing"].groupby("sender").size()
    whole = pd.read_csv(tmp_path / "mirror/clothing/labels.csv", dtype=str).groupby("sender_id").size()
    assert all(whole[sender] == count for sender, count in senders.items()) and 6 <= senders.sum() < 22
    subsets = images[images["source"] == "biq2021"].groupby("subset").size()
    assert set(subsets.index) == {"ss01", "ss02", "ss03"} and subsets.sum() == 12


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"commit": "0" * 40}, "failed|no commit"),
        ({"commit": "abcdef0"}, "no commit abcdef0"),
        ({"sha256": "0" * 64}, "declared is 0000"),
        ({"labels": "Elsewhere.csv"}, r"has no Elsewhere\.csv"),
    ],
)
def test_a_repository_that_is_not_what_was_declared_is_refused(
    tmp_path: Path, declaration: Path, values: dict[str, object], said: str
) -> None:
    change(declaration, "biq2021", **values)
    sets = read_sources(declaration).of(("biq2021",), declaration)
    with pytest.raises(SourceError, match=said):
        public.read_public(sets, tmp_path / "downloads", seed=1)


def test_a_pinned_commit_stays_what_it_was_when_the_repository_moves_on(tmp_path: Path, declaration: Path) -> None:
    repository = declaration.parent / "furniture"
    for image in (repository / "Data/rustic").glob("*.jpg"):
        image.write_bytes(b"changed")
    commit(repository)
    sets = read_sources(declaration).of(("furniture",), declaration)
    images = public.read_public(sets, tmp_path / "downloads", seed=1).images
    assert all(Path(origin).read_bytes() != b"changed" for origin in images["origin"])


def test_a_short_commit_id_is_found_too(tmp_path: Path, declaration: Path) -> None:
    full = yaml.safe_load(declaration.read_text())["sets"]["grocery"]["public"]["commit"]
    change(declaration, "grocery", commit=full[:7])
    sets = read_sources(declaration).of(("grocery",), declaration)
    table = public.read_public(sets, tmp_path / "downloads", seed=1)
    assert table.facts["grocery"].commit == full and table.images["origin"].notna().all()


def test_a_repository_that_does_not_answer_is_told_with_its_cause(tmp_path: Path, declaration: Path) -> None:
    change(declaration, "grocery", address=(tmp_path / "nowhere").as_uri())
    sets = read_sources(declaration).of(("grocery",), declaration)
    reason = public.why_unreachable(sets, 5)
    assert reason is not None and "nowhere" in reason
    intact = read_sources(declaration).of(("clothing",), declaration)
    assert public.why_unreachable(intact, 5) is None
    assert "not asked in time" in str(public.why_unreachable(intact, 0))
