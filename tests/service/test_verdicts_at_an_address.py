"""Verdicts by HTTP are those of the batch, whatever is sent and however much."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain, repeat
from pathlib import Path

import httpx
import pytest
from PIL import Image
from running_service import Running, run, with_rules
from small_network import KEEP_ENHANCED, save_small_bundle, small_architecture
from small_workspace import picture

import packshot.service.champion as champion
import packshot.service.engine as engine
from packshot.config import load_settings
from packshot.scoring.batch import score
from packshot.scoring.contract import Verdict
from packshot.scoring.scorer import open_scorer
from packshot.scoring.verdicts import read_verdicts
from packshot.service.champion import Following
from packshot.service.engine import Engine, NoModel, Sent, TooBusy
from packshot.service.keys import Keys
from packshot.service.uploads import safe

SCORES = ("quality", "quality_low", "quality_high", "sharpness", "colour_balance", "detail")


def form(*files: Path) -> list[tuple[str, tuple[str, bytes]]]:
    return [("file", (file.name, file.read_bytes())) for file in files]


def test_verdicts_are_those_of_the_batch(served: Running, photos: Path, bundle: Path, tmp_path: Path) -> None:
    score(load_settings(), photos, tmp_path / "out", scorer=open_scorer(load_settings(), str(bundle)))
    rows = {row["path"]: row for row in read_verdicts(tmp_path / "out" / "verdicts.parquet").to_pylist()}
    files = [photos / f"{number}.png" for number in (4, 0, 2)]
    with served.client() as client:
        together = client.post("/v1/verdicts", files=form(*files)).json()["verdicts"]
        alone = [client.post("/v1/verdicts", content=file.read_bytes()).json()["verdicts"][0] for file in files]
    assert [each["path"] for each in together] == ["4.png", "0.png", "2.png"]
    for file, one, other in zip(files, together, alone, strict=True):
        row = rows[file.name]
        Verdict.model_validate(one)
        assert set(one) == set(Verdict.model_fields)
        assert (one["decision"], one["reasons"]) == (row["decision"], row["reasons"])
        for name in SCORES:
            assert one[name] == pytest.approx(row[name], abs=1e-5) and other[name] == pytest.approx(row[name], abs=1e-5)
        assert one["image_id"] == row["image_id"]


def test_what_the_shop_says_comes_back_with_the_verdict(served: Running, photos: Path) -> None:
    files = form(photos / "0.png", photos / "1.png")
    with served.client() as client:
        told = client.post("/v1/verdicts", files=files, data={"sku": ["00123", "B"], "sender": "shop"}).json()[
            "verdicts"
        ]
        assert [(each["sku"], each["sender"]) for each in told] == [("00123", "shop"), ("B", "shop")]
        raw = client.post("/v1/verdicts", params={"sku": "C"}, content=(photos / "0.png").read_bytes()).json()
        assert raw["verdicts"][0]["sku"] == "C"
        wrong = client.post("/v1/verdicts", files=files, data={"sku": ["1", "2", "3"]})
    assert wrong.status_code == 400 and "`sku`" in wrong.json()["error"]


HOSTILE = {
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
    "html": b"<html><script>alert(1)</script>",
    "text": b"no picture",
    "zip": b"PK\x03\x04" + bytes(200),
    "cut off": b"\x89PNG\r\n\x1a\n" + bytes(40),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_is_no_picture_gets_a_verdict_that_says_so(served: Running, photos: Path, kind: str) -> None:
    files = [("file", ("a.png", HOSTILE[kind])), *form(photos / "0.png")]
    with served.client() as client:
        found = client.post("/v1/verdicts", files=files).json()["verdicts"]
    assert found[0]["error"] and found[0]["decision"] in ("reject", "review") and found[0]["quality"] is None
    assert found[1]["error"] is None


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\photos\\a b.jpg", "a b.jpg"),
        ("<script>x</script>.png", "script_.png"),
        ("a\x00\n.png", "a__.png"),
        ("..", "picture 3"),
        ("", "picture 3"),
        (None, "picture 3"),
        ("k" * 300 + ".jpeg", "k" * 120 + ".jpeg"),
        ("стол.png", "стол.png"),
    ],
)
def test_names_are_those_of_files_and_of_nothing_else(name: str | None, shown: str) -> None:
    assert safe(name, 3) == shown


def test_the_bytes_of_a_picture_need_no_name_for_their_kind(served: Running, photos: Path) -> None:
    content = (photos / "0.png").read_bytes()
    with served.client() as client:
        # the first is what curl says of any
        kinds = ("application/x-www-form-urlencoded", "application/octet-stream", "image/png", "text/plain")
        found = [client.post("/v1/verdicts", content=content, headers={"Content-Type": kind}) for kind in kinds]
    assert [each.json()["verdicts"][0]["error"] for each in found] == [None] * 4


def test_a_request_without_pictures_or_with_too_many_is_refused(served: Running, photos: Path) -> None:
    with served.client() as client:
        for answer in (
            client.post("/v1/verdicts"),
            client.post("/v1/verdicts", data={"sku": "1"}),
            client.post("/v1/verdicts", files={"picture": b"x"}),
            client.post("/v1/verdicts", content=b"--x", headers={"Content-Type": "multipart/form-data; boundary=x"}),
            client.post("/v1/verdicts", content=b"x", headers={"Content-Type": "multipart/form-data"}),
        ):
            assert answer.status_code == 400 and answer.json()["error"], answer.text
        many = client.post("/v1/verdicts", files=form(*[photos / "0.png"] * 5))
        assert many.status_code == 400
        assert client.get("/v1/verdicts").status_code == 404 and client.get("/../etc/passwd").status_code == 404


def test_what_is_too_large_is_refused_before_it_has_come(served: Running) -> None:
    def endless() -> object:
        for _ in range(2000):
            yield bytes(100_000)

    with served.client() as client:
        assert client.post("/v1/verdicts", content=bytes(3_000_000)).status_code == 413
        try:
            status = client.post("/v1/verdicts", content=endless()).status_code
        except httpx.TransportError:  # the connection is closed on who goes on sending
            status = 413
    assert status == 413


def test_a_client_that_stops_sending_is_let_go(served: Running) -> None:
    host, port = served.url.removeprefix("http://").split(":")
    head = (
        f"POST /v1/verdicts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {served.secrets['score']}\r\n"
        "Content-Length: 1000\r\n\r\nabc"
    )
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        begun = time.monotonic()
        connection.sendall(head.encode())
        answer = connection.recv(4096)
    assert b" 408 " in answer.split(b"\r\n")[0] and time.monotonic() - begun < 10


def closed_after(served: Running, sent: Iterator[bytes], at_most_s: float = 12) -> float:
    """Seconds until the service ends a connection on which this is sent, a piece each .1 s."""
    host, port = served.url.removeprefix("http://").split(":")
    begun = time.monotonic()
    with socket.create_connection((host, int(port)), timeout=0.1) as connection:
        while time.monotonic() - begun < at_most_s:
            try:
                connection.sendall(next(sent, b""))
                if connection.recv(4096) == b"":
                    break
            except TimeoutError:
                continue
            except OSError:
                break
    return time.monotonic() - begun


def test_a_head_that_comes_in_drops_or_without_end_is_not_waited_for(served: Running) -> None:
    drops = (bytes([byte]) for byte in b"GET /healthz HTTP/1.1\r\n" + b"X-Filler: aaaaaaaaa\r\n" * 100)
    assert 1.5 < closed_after(served, drops) < 6
    assert 1.5 < closed_after(served, iter(())) < 6, "also who says nothing"
    endless = (b"GET /healthz HTTP/1.1\r\n" if not number else b"X-Filler: " + b"a" * 8000 for number in range(1000))
    assert closed_after(served, endless) < 1.9, "before its time is over"
    with served.client() as client:
        for _ in range(2):
            assert client.get("/healthz").status_code == 200
            time.sleep(1.2)
        assert client.get("/v1/model").status_code == 200


def test_a_body_that_comes_in_drops_is_not_waited_for(served: Running) -> None:
    head = f"POST /v1/verdicts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {served.secrets['score']}\r\n"
    drops = chain([f"{head}Content-Length: 100000\r\n\r\n".encode()], repeat(b"a"))
    assert closed_after(served, drops) < 8


def test_who_went_away_is_left_out_and_the_others_are_answered(bundle: Path, photos: Path, tmp_path: Path) -> None:
    worker = Engine(load_settings(), 10)
    worker.use(open_scorer(load_settings(), str(bundle)))
    asked = []
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes((photos / "0.png").read_bytes())
        asked.append(worker.ask([Sent(tmp_path / f"{number}.png", f"{number}.png")]))
    assert asked[1].cancel()
    worker.start()
    assert [each.result(60)[0].verdict.path for each in (asked[0], asked[2])] == ["0.png", "2.png"]
    worker.stop()


def test_a_picture_that_is_better_repaired_comes_back(
    bundle: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in KEEP_ENHANCED.items():
        monkeypatch.setenv(name, value)
    keys = Keys(tmp_path / "keys.json")
    secret = keys.add("shop", "score", None)
    for running in run(load_settings(), str(bundle), keys):
        headers = {"Authorization": f"Bearer {secret}"}
        answer = httpx.post(f"{running.url}/v1/enhance", headers=headers, content=(photos / "1.png").read_bytes())
        assert answer.status_code == 200 and answer.headers["content-type"] == "image/png"
        assert answer.headers["X-Packshot-Decision"] == "enhance"
        (tmp_path / "better.png").write_bytes(answer.content)
        assert Image.open(tmp_path / "better.png").size == Image.open(photos / "1.png").size
        broken = httpx.post(f"{running.url}/v1/enhance", headers=headers, content=b"nothing")
        assert broken.status_code == 204 and broken.headers["X-Packshot-Decision"] in ("reject", "review")


def test_logs_hold_ids_and_nothing_that_a_client_wrote(
    served: Running, photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "packshot.service")
    with served.client() as client:
        client.post("/v1/verdicts", files=[("file", ("secret-name.png", (photos / "0.png").read_bytes()))])
        client.get("/secret-path")
    lines = [json.loads(record.message) for record in caplog.records if record.name == "packshot.service"]
    assert {(line["route"], line["status"]) for line in lines} >= {("/v1/verdicts", 200), ("other", 404)}
    assert "secret-" not in json.dumps(lines) and served.secrets["score"] not in json.dumps(lines)


def test_metrics_count_requests_and_decisions(served: Running, photos: Path) -> None:
    def total(text: str) -> float:
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith("packshot_pictures_total{"))

    with served.client() as client:
        before = total(client.get("/metrics").text)
        client.post("/v1/verdicts", files=form(photos / "0.png", photos / "1.png"))
        text = client.get("/metrics").text
    assert total(text) == before + 2
    assert (
        'packshot_requests_total{route="/v1/verdicts",status="200"}' in text and "packshot_pictures_waiting 0.0" in text
    )


def test_the_model_says_who_it_is(served: Running, bundle: Path) -> None:
    with served.client("read") as client:
        told = client.get("/v1/model").json()
    assert (
        told["model_name"] == bundle.name
        and len(told["bundle_sha256"]) == 64
        and told["runtime"].startswith("openvino")
    )


def test_above_what_it_can_do_it_says_when_to_come_again(bundle: Path, photos: Path, tmp_path: Path) -> None:
    settings = load_settings()
    slow, entered = threading.Event(), threading.Event()
    scorer = open_scorer(settings, str(bundle))
    busy = Engine(settings, most_waiting=3)
    judged = engine.judged

    def waiting(*given: object) -> object:
        entered.set()
        slow.wait(30)
        return judged(*given)  # type: ignore[arg-type]

    def sent(number: int) -> Sent:
        file = tmp_path / f"{number}.png"
        file.write_bytes((photos / "0.png").read_bytes())
        return Sent(file, file.name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "judged", waiting)
        with pytest.raises(NoModel, match="being loaded"):
            busy.ask([sent(0)])
        busy.use(scorer)
        busy.start()
        first = busy.ask([sent(1)])
        assert entered.wait(30)
        others = [busy.ask([sent(number)]) for number in (2, 3)]
        with pytest.raises(TooBusy, match="at most 3"):
            busy.ask([sent(4)])
        slow.set()
        assert [one.result(30)[0].verdict.error for one in (first, *others)] == [None] * 3
        assert busy.ask([sent(number) for number in range(5, 10)]).result(60), (
            "one large request passes where none waits"
        )
    busy.stop()


def test_one_picture_that_breaks_the_engine_costs_its_own_call(bundle: Path, photos: Path, tmp_path: Path) -> None:
    settings = load_settings()
    worker = Engine(settings, 10)
    worker.use(open_scorer(settings, str(bundle)))
    worker.start()
    gone = worker.ask([Sent(tmp_path / "gone.png", "gone.png")])
    with pytest.raises(OSError, match="gone"):
        gone.result(30)
    (tmp_path / "there.png").write_bytes((photos / "0.png").read_bytes())
    assert worker.ask([Sent(tmp_path / "there.png", "there.png")]).result(30)[0].verdict.error is None
    worker.stop()


def test_a_swap_drops_nothing_and_mixes_nothing(served: Running, bundle: Path, photos: Path, tmp_path: Path) -> None:
    other = save_small_bundle(tmp_path / "other", small_architecture(), seed=5)
    settings = load_settings()
    two = [replace(open_scorer(settings, str(each))) for each in (bundle, other)]
    expected = {each.lineage.model_name for each in two}
    stop = threading.Event()

    def swapping() -> None:
        turn = 0
        while not stop.is_set():
            served.service.engine.use(two[turn % 2])
            turn += 1
            time.sleep(0.02)

    changing = threading.Thread(target=swapping)
    changing.start()
    try:
        with served.client() as client, ThreadPoolExecutor(4) as pool:
            ask = lambda _: client.post("/v1/verdicts", files=form(photos / "0.png", photos / "1.png"))  # noqa: E731
            answers = list(pool.map(ask, range(24)))
    finally:
        stop.set()
        changing.join()
        served.service.engine.use(two[0])
    assert {answer.status_code for answer in answers} == {200}
    seen = [{each["model_name"] for each in answer.json()["verdicts"]} for answer in answers]
    assert all(len(one) == 1 for one in seen) and set().union(*seen) == expected


def test_nothing_is_judged_while_nobody_may(served: Running, photos: Path) -> None:
    scorer = served.service.engine.scorer
    assert scorer is not None
    served.service.engine.refuse("the alias was moved by hand")
    try:
        with served.client() as client:
            ready, asked = client.get("/readyz"), client.post("/v1/verdicts", files=form(photos / "0.png"))
            assert (ready.status_code, asked.status_code) == (503, 503) and "by hand" in asked.json()["error"]
            assert asked.headers["Retry-After"] and client.get("/healthz").status_code == 200
    finally:
        served.service.engine.use(scorer)


def test_a_grey_picture_and_a_large_one_are_judged(served: Running, tmp_path: Path) -> None:
    Image.fromarray(picture(1, 0, 0.2)).convert("L").resize((1500, 900)).save(tmp_path / "grey.jpg", quality=90)
    with served.client() as client:
        (found,) = client.post("/v1/verdicts", files=form(tmp_path / "grey.jpg")).json()["verdicts"]
    assert found["error"] is None and (found["width"], found["height"]) == (1500, 900)


def test_rules_of_the_service_can_be_set(bundle: Path) -> None:
    assert with_rules(load_settings(), follow_s=3).service.follow_s == 3


def test_what_goes_wrong_at_a_look_is_told_and_mended_by_a_later_one(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings()
    worker = Engine(settings, 4)
    following = Following(settings, str(bundle), worker, 60)

    def broken(*_: object) -> object:
        raise ConnectionResetError("the database went away")

    with monkeypatch.context() as gone:
        gone.setattr(champion, "open_scorer", broken)
        following.look()
        assert worker.scorer is None and "database went away" in str(worker.why_not)
    following.look()
    assert worker.scorer is not None and worker.why_not is None
