"""What the service tells of pictures that were scored: why, and what is alike."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from running_service import run

from packshot.catalog.decoding.isolated import decode
from packshot.catalog.image import ImageLimits
from packshot.config import load_settings
from packshot.exports.source import open_verdicts
from packshot.exports.style_index import Wanted, index_folder, open_index, update
from packshot.scoring.batch import score
from packshot.scoring.scorer import open_scorer
from packshot.scoring.verdicts import read_verdicts
from packshot.service.keys import Keys

LIMITS = ImageLimits.from_settings(load_settings().validation)
EVERY = {"decision": ["accept", "enhance", "review", "reject"]}


@pytest.fixture
def scored(
    tmp_path: Path, bundle: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[httpx.Client, Path]]:
    monkeypatch.setenv("PACKSHOT_HOME", str(tmp_path / "home"))
    score(load_settings(), photos, tmp_path / "out", scorer=open_scorer(load_settings(), str(bundle)))
    keys = Keys()
    secret = keys.add("ann", "review", None)
    for running in run(load_settings(), str(bundle), keys, [tmp_path / "out"]):
        with httpx.Client(base_url=running.url, headers={"Authorization": f"Bearer {secret}"}, timeout=60) as client:
            yield client, tmp_path / "out"


def test_pictures_of_a_similar_style_are_found(scored: tuple[httpx.Client, Path], photos: Path, bundle: Path) -> None:
    client, out = scored
    content = (photos / "3.png").read_bytes()
    none = client.post("/v1/similar", content=content)
    assert none.status_code == 404 and "packshot index" in none.json()["error"]
    (file,) = open_verdicts([out])
    update(load_settings().exports.similar, [file], index_folder(file.model))
    found = client.post("/v1/similar", content=content, params={"count": 3, **EVERY}).json()
    wanted = Wanted(3, decisions=tuple(EVERY["decision"]))
    vector = open_scorer(load_settings(), str(bundle)).judge.judge([decode(content, LIMITS)])[0].style_vector
    expected = open_index(index_folder(file.model), load_settings().exports.similar).search(vector, wanted)
    assert found["model"] == file.model and [hit["path"] for hit in found["hits"]] == [hit.path for hit in expected]
    similarities = [hit["similarity"] for hit in found["hits"]]
    assert similarities == pytest.approx([hit.similarity for hit in expected], abs=1e-5)
    assert similarities[0] > 0.99, "it is in the index itself"
    broken = client.post("/v1/similar", content=b"no picture")
    assert broken.status_code == 422 and "could not be judged" in broken.json()["error"]
    assert client.post("/v1/similar", content=content, params={"decision": "maybe"}).status_code == 422


def test_a_verdict_is_followed_back(scored: tuple[httpx.Client, Path], photos: Path) -> None:
    client, out = scored
    row = read_verdicts(out / "verdicts.parquet", ["path", "image_id", "decision"]).to_pylist()[2]
    (asked,) = client.post("/v1/verdicts", content=(photos / row["path"]).read_bytes()).json()["verdicts"]
    told = client.get(f"/v1/why/{asked['image_id']}").json()
    assert told["picture"]["path"] == row["path"] and told["decision"]["decision"] == row["decision"]
    assert {"what": "the file on disk is the picture that was judged (sha256)", "holds": True, "detail": None} in told[
        "checks"
    ]
    listed = client.get("/v1/queue", params={"decision": row["decision"], "count": 50}).json()["items"]
    item = next(each["id"] for each in listed if each["path"] == row["path"])
    assert client.get(f"/v1/why/{item}").json()["verdict"]["image_id"] == row["image_id"]
    assert client.get(f"/v1/why/{'0' * 64}").status_code == 404
