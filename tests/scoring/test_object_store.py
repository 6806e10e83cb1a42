"""Batches in an object store: a local S3-compatible server, killed scorers, hostile names."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from sample_batch import make_batch, picture, save, scorer
from small_network import KEEP_ENHANCED, save_small_bundle, small_architecture

from packshot.config import Settings, load_settings
from packshot.home import project_root
from packshot.scoring.batch import score
from packshot.scoring.bucket import Bucket, StoreFailed
from packshot.scoring.shards import OtherModel, OutputHolds
from packshot.scoring.stored import NotOnRay, score_stored

BUCKET = "shop"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    started = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    started.start()
    host, port = started.get_host_and_port()
    yield f"http://{host}:{port}"
    started.stop()


@pytest.fixture
def store(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An empty bucket, and the environment that leads to it."""
    import boto3
    import s3fs

    told = {"AWS_ENDPOINT_URL": server, "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"}
    told |= {"AWS_DEFAULT_REGION": "us-east-1", "AWS_CONFIG_FILE": os.devnull, "PACKSHOT_HOME": str(tmp_path / "home")}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    bucket = boto3.resource("s3").create_bucket(Bucket=BUCKET)
    yield bucket
    bucket.objects.all().delete()
    bucket.delete()


def put_below(bucket: Any, folder: Path, prefix: str) -> None:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            bucket.upload_file(str(path), f"{prefix}/{path.relative_to(folder).as_posix()}")


def names(bucket: Any, prefix: str) -> set[str]:
    return {found.key.removeprefix(f"{prefix}/") for found in bucket.objects.filter(Prefix=f"{prefix}/")}


def rows(bucket: Any, prefix: str, folder: Path) -> pd.DataFrame:
    bucket.download_file(f"{prefix}/verdicts.parquet", str(folder / "stored.parquet"))
    return pd.read_parquet(folder / "stored.parquet").drop(columns="scored_at")


@pytest.fixture
def settings() -> Settings:
    loaded = load_settings(project_root() / "params.yaml")
    changed = {"shard_size": 4, "accept_at": 0.6, "reject_below": 0.35, "review_width": 0.5, "min_gain": 0.01}
    return loaded.model_copy(update={"scoring": loaded.scoring.model_copy(update=changed)})


@pytest.mark.slow
def test_a_killed_scorer_is_followed_by_one_elsewhere_and_nothing_is_lost(tmp_path: Path, store: Any) -> None:
    folder, bundle = make_batch(tmp_path / "in", 160), save_small_bundle(tmp_path / "bundle", small_architecture())
    put_below(store, folder, "in")

    def packshot(home: str, source: object, out: object) -> subprocess.Popen[bytes]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PACKSHOT")}
        rules = KEEP_ENHANCED | {"PACKSHOT__SCORING__SHARD_SIZE": "4"}
        own = {"PACKSHOT_HOME": str(tmp_path / home), "PACKSHOT__TRAINING__THREADS": "1"}
        own |= {"PYTHONPATH": str(project_root() / "src")}
        command = [sys.executable, "-m", "packshot.cli", "score", str(source), "--out", str(out), "--model", bundle]
        return subprocess.Popen(command, cwd=project_root(), env=inherited | rules | own, stderr=subprocess.PIPE)

    assert packshot("here", folder, tmp_path / "out").wait(200) == 0
    killed = packshot("there", f"s3://{BUCKET}/in", f"s3://{BUCKET}/out")
    while sum(name.endswith(".parquet") for name in names(store, "out")) < 5:
        assert killed.poll() is None, killed.communicate()[1].decode()
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.wait(10)
    shards = {name for name in names(store, "out") if name.endswith(".parquet")}
    assert len(shards) >= 5 and "verdicts.parquet" not in shards
    done = 0
    for name in shards:
        store.download_file(f"out/{name}", str(tmp_path / "shard.parquet"))
        done += pq.read_metadata(tmp_path / "shard.parquet").num_rows
    assert 0 < done < 160
    after = packshot("elsewhere", f"s3://{BUCKET}/in", f"s3://{BUCKET}/out")
    said = after.communicate(timeout=200)[1].decode()
    assert after.returncode == 0, said
    assert f"{160 - done} images in" in said, "what was finished is not done again"

    expected = pd.read_parquet(tmp_path / "out/verdicts.parquet").drop(columns="scored_at")
    pd.testing.assert_frame_equal(rows(store, "out", tmp_path), expected)
    enhanced = {name for name in names(store, "out") if name.startswith("enhanced/")}
    assert enhanced == set(expected.enhanced_path.dropna()) and enhanced
    for name in enhanced:
        assert store.Object(f"out/{name}").get()["Body"].read() == (tmp_path / "out" / name).read_bytes()
    assert not list((tmp_path / "elsewhere/spool").iterdir()), "nothing stays behind"


def test_each_side_may_be_local(tmp_path: Path, store: Any, settings: Settings) -> None:
    folder = make_batch(tmp_path / "in", 12, low=100, high=140)
    put_below(store, folder, "in")
    score(settings, folder, tmp_path / "out", scorer=scorer())
    score_stored(settings, f"s3://{BUCKET}/in", str(tmp_path / "down"), scorer=scorer())
    done = score_stored(settings, str(folder), f"s3://{BUCKET}/up/", scorer=scorer())
    expected = pd.read_parquet(tmp_path / "out/verdicts.parquet").drop(columns="scored_at")
    down = pd.read_parquet(tmp_path / "down/verdicts.parquet").drop(columns="scored_at")
    pd.testing.assert_frame_equal(down, expected)
    pd.testing.assert_frame_equal(rows(store, "up", tmp_path), expected)
    assert done.verdicts == f"s3://{BUCKET}/up/verdicts.parquet" and not done.done_before
    assert expected.enhanced_path.notna().any() and expected.title.notna().all()

    assert score_stored(settings, str(folder), f"s3://{BUCKET}/up", scorer=scorer()).done_before
    with pytest.raises(OtherModel):
        score_stored(settings, str(folder), f"s3://{BUCKET}/up", scorer=scorer(digest="e" * 64))


def test_a_new_object_costs_one_verdict_and_one_that_is_gone_is_asked_about(
    tmp_path: Path, store: Any, settings: Settings
) -> None:
    folder = make_batch(tmp_path / "in", 12, low=100, high=140)
    put_below(store, folder, "in")
    source, out = f"s3://{BUCKET}/in", f"s3://{BUCKET}/in/out"
    score_stored(settings, source, out, scorer=scorer())
    before = rows(store, "in/out", tmp_path)
    put_below(store, folder, "in")  # the same content at a later time
    save(tmp_path / "new.png", picture(120, 99))
    store.upload_file(str(tmp_path / "new.png"), "in/a-new.png")
    assert score_stored(settings, source, out, scorer=scorer()).judged == 1
    found = rows(store, "in/out", tmp_path)
    assert found.path[0] == "a-new.png" and found.enhanced_path[0] in names(store, "in/out")
    pd.testing.assert_frame_equal(found[1:].reset_index(drop=True), before)
    assert set(before.enhanced_path.dropna()) < names(store, "in/out")

    store.Object("in/shop/item000.png").delete()
    held = names(store, "in/out")
    with pytest.raises(OutputHolds, match=r"1 file\(s\).*--out s3://shop/in/out-2"):
        score_stored(settings, source, out, scorer=scorer())
    assert names(store, "in/out") == held
    assert score_stored(settings, source, out, scorer=scorer(), drop_gone=True).judged == 0
    assert list(rows(store, "in/out", tmp_path).path) == [path for path in found.path if path != "shop/item000.png"]
    after = names(store, "in/out")
    assert "enhanced/shop/item000.png" in held - after
    assert score_stored(settings, source, out, scorer=scorer()).done_before


def test_names_and_contents_that_a_folder_could_not_hold(tmp_path: Path, store: Any, settings: Settings) -> None:
    fine = save(tmp_path / "fine.png", picture(120)).read_bytes()
    limits = settings.validation.model_copy(update={"max_file_mb": 0.05})
    settings = settings.model_copy(update={"validation": limits})
    objects = {"fine.png": fine, "../out.png": fine, "a//b.png": fine, "empty.png": b"", "a/b.png": fine}
    objects |= {
        "large.png": fine + b"0" * 60_000,
        ".hidden.png": fine,
        "folder/": b"",
        "q?*[x].png": fine,
        "/abs.png": fine,
        "a": fine,
    }
    store.put_object(Key="in/", Body=b"")
    for name, content in objects.items():
        store.put_object(Key=f"in/{name}", Body=content)
    score_stored(settings, f"s3://{BUCKET}/in", f"s3://{BUCKET}/out", scorer=scorer())
    found = rows(store, "out", tmp_path).set_index("path")
    assert set(found.index) == objects.keys() - {".hidden.png", "folder/"}
    errors = found.error.dropna().str.split(":").str[0]
    assert errors.to_dict() == {
        "../out.png": "outside_root",
        "/abs.png": "outside_root",
        "a//b.png": "outside_root",
        "empty.png": "empty_file",
        "large.png": "too_large_file",
    }
    assert {"enhanced/fine.png", "enhanced/q?*[x].png"} <= set(found.enhanced_path.dropna()) <= names(store, "out")


def test_a_listing_goes_on_behind_its_first_page(store: Any) -> None:
    for number in range(1003):
        store.put_object(Key=f"many/{number}", Body=b"x")
    assert len({found.name for found in Bucket.open(f"s3://{BUCKET}/many").objects()}) == 1003


def test_what_cannot_be_done_is_said(
    tmp_path: Path, store: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StoreFailed, match=r"nowhere.*AWS_ENDPOINT_URL"):
        score_stored(settings, "s3://nowhere/in", str(tmp_path / "out"), scorer=scorer())
    with pytest.raises(NotOnRay):
        score_stored(settings.scored_by("ray"), f"s3://{BUCKET}/in", str(tmp_path / "out"), scorer=scorer())


def test_shards_in_the_store_are_not_trusted_to_a_spool_alone(tmp_path: Path, store: Any, settings: Settings) -> None:
    """A spool that knows more than the store, as after a kill before a PUT, is no proof that anything was put."""
    put_below(store, make_batch(tmp_path / "in", 8, low=100, high=140), "in")
    real = Bucket.put

    def unplugged(self: Bucket, source: Path, name: str) -> None:
        if name.endswith(".parquet"):
            raise StoreFailed(self.address, OSError("unplugged"))
        real(self, source, name)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Bucket, "put", unplugged)
        with pytest.raises(StoreFailed, match="unplugged"):
            score_stored(settings, f"s3://{BUCKET}/in", f"s3://{BUCKET}/out", scorer=scorer())
    assert list((tmp_path / "home/spool").rglob("*.parquet"))
    done = score_stored(settings, f"s3://{BUCKET}/in", f"s3://{BUCKET}/out", scorer=scorer())
    found = rows(store, "out", tmp_path)
    assert done.shards_found == 0 and len(found) == 8
    assert set(found.enhanced_path.dropna()) <= names(store, "out")
    assert pq.read_table(tmp_path / "stored.parquet").num_rows == 8
