"""A table file is read by the delimiter and the encoding that it has, and no line of it is shifted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from packshot.catalog.shop.records import CatalogUnreadable, Table, open_table
from packshot.config import CatalogSettings, SettingsError, load_settings

PROJECT = Path(__file__).resolve().parents[2]
RULES = load_settings(PROJECT / "params.yaml").catalog
GREEN = "path,sku,title\na.jpg,00123,Stiefel Größe 42\nb.jpg,00124,Müller Weiß\n"


def read(path: Path, content: bytes | str, rules: CatalogSettings = RULES) -> tuple[Table, list[list[str | None]]]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    table = open_table(path, rules)
    return table, [list(values) for _, values in table.rows]


EXPECTED = [["a.jpg", "00123", "Stiefel Größe 42"], ["b.jpg", "00124", "Müller Weiß"]]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
def test_delimiter_and_encoding_are_found_and_said(tmp_path: Path, delimiter: str, encoding: str) -> None:
    table, rows = read(tmp_path / "t.csv", GREEN.replace(",", delimiter).encode(encoding))
    assert (list(table.header), rows) == (["path", "sku", "title"], EXPECTED)
    plain = delimiter == "," and encoding.startswith("utf-8")
    assert (table.said is None) == plain
    if encoding == "cp1252":
        assert "as cp1252 (for example 'Größe')" in str(table.said)


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_every_line_ending_is_one(tmp_path: Path, ending: str) -> None:
    assert read(tmp_path / "t.csv", GREEN.replace("\n", ending))[1] == EXPECTED


def test_the_delimiter_is_that_of_the_header_not_of_the_texts(tmp_path: Path) -> None:
    text = "path;title\na.jpg;Chair, red, wood\nb.jpg;Chair, blue, steel\n"
    assert read(tmp_path / "t.csv", text)[1] == [["a.jpg", "Chair, red, wood"], ["b.jpg", "Chair, blue, steel"]]
    assert read(tmp_path / "t.csv", "path,title\na.jpg,x; y; z\n")[1] == [["a.jpg", "x; y; z"]]
    assert read(tmp_path / "t.csv", "sep=;\npath;title\na.jpg;x\n")[1] == [["a.jpg", "x"]]


def test_what_is_asked_for_counts(tmp_path: Path) -> None:
    settings = load_settings(PROJECT / "params.yaml").catalog_read_as("tab", "cp1251")
    text = "path\ttitle, long\na.jpg\tКофе\n".encode("cp1251")
    assert read(tmp_path / "t.csv", text, settings.catalog)[1] == [["a.jpg", "Кофе"]]
    for wrong in ({"delimiter": "::"}, {"encoding": "klingon"}):
        with pytest.raises(SettingsError, match=next(iter(wrong))):
            settings.catalog_read_as(**{"delimiter": None, "encoding": None, **wrong})


@pytest.mark.parametrize("encoding", ["cp1251", "koi8-r", "shift-jis", "gb18030"])
def test_a_code_page_that_is_no_western_one_is_never_guessed(tmp_path: Path, encoding: str) -> None:
    text = {"shift-jis": "木製の椅子と机", "gb18030": "木椅子和桌子很好"}.get(encoding, "Кофейная чашка, белая")
    with pytest.raises(CatalogUnreadable, match=r"name its encoding under catalog\.encoding"):
        read(tmp_path / "t.csv", f'path,title\na.jpg,"{text}"\n'.encode(encoding))


@pytest.mark.parametrize("encoding", ["mac_roman", "cp850", "cp437"])
@pytest.mark.parametrize("text", ["Müller, grüner Stuhl, Bänke", "Café crème, thé"])
def test_a_western_code_page_of_another_system_is_not_taken_for_cp1252(
    tmp_path: Path, encoding: str, text: str
) -> None:
    with pytest.raises(CatalogUnreadable, match=r"name its encoding under catalog\.encoding"):
        read(tmp_path / "t.csv", f'path,title\na.jpg,"{text}"\n'.encode(encoding))


@pytest.mark.parametrize("text", ["Größe", "l’été, cœur", "košile – žlutá", "Tempur™ mit 5 € Rabatt…", "naïve Ÿ"])
def test_signs_and_rare_letters_of_cp1252_are_read(tmp_path: Path, text: str) -> None:
    _, rows = read(tmp_path / "t.csv", f'path,title\na.jpg,"{text}"\n'.encode("cp1252"))
    assert rows == [["a.jpg", text]]


def test_a_damaged_byte_in_utf_8_costs_its_line_and_does_not_turn_the_rest_into_cp1252(tmp_path: Path) -> None:
    text = GREEN.encode() + b"c.jpg,00125,Gr" + b"\xc3,\nd.jpg,00126,Fu\xc3\x9f\n"
    table, rows = read(tmp_path / "t.csv", text)
    assert rows == [*EXPECTED, ["d.jpg", "00126", "Fuß"]]
    assert list(table.faults.sentences()) == [
        "1 line(s) were skipped; the first is line 4: it holds bytes that are no utf-8; save the file as UTF-8"
    ]


def test_a_trailing_comma_shifts_nothing_and_a_line_with_more_fields_is_left_out(tmp_path: Path) -> None:
    text = "path,thumb,sku\na.jpg,t.jpg,S1,\nb.jpg,u.jpg,S2, ,\nc.jpg,v.jpg,S3,0\nd.jpg,w.jpg\n,,,\n\ne.jpg,x.jpg,S5\n"
    table, rows = read(tmp_path / "t.csv", text)
    assert rows == [
        ["a.jpg", "t.jpg", "S1"],
        ["b.jpg", "u.jpg", "S2"],
        ["d.jpg", "w.jpg", None],
        ["e.jpg", "x.jpg", "S5"],
    ]
    skipped, short = table.faults.sentences()
    assert "1 line(s) were skipped; the first is line 4: it has 4 fields, the header 3; put quotes round" in skipped
    assert "1 line(s) have fewer fields" in short and "line 5" in short


def test_texts_stay_as_they_are_written_and_only_an_empty_field_is_missing(tmp_path: Path) -> None:
    text = 'path,sku,title\na.jpg,NA,None\nb.jpg,007,\nc.jpg," 1.0 ",null\nd.jpg,"=""00042""",x\n'
    expected = [["a.jpg", "NA", "None"], ["b.jpg", "007", None], ["c.jpg", "1.0", "null"], ["d.jpg", "00042", "x"]]
    assert read(tmp_path / "t.csv", text)[1] == expected
    rules = RULES.model_copy(update={"missing": ("NA", "null")})
    assert [row[1:] for row in read(tmp_path / "t.csv", text, rules)[1]][::2] == [[None, "None"], ["1.0", None]]


def test_a_quote_that_never_closes_costs_its_line(tmp_path: Path) -> None:
    table, rows = read(tmp_path / "t.csv", 'path,sku\na.jpg,"1\nb.jpg,2\nc.jpg,"two\nlines"\n')
    assert rows == [["b.jpg", "2"], ["c.jpg", "two\nlines"]]
    assert "line 2: a quote in it is never closed" in next(table.faults.sentences())


def test_parquet_numbers_are_the_texts_that_a_person_would_write(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "path": ["a.jpg", "b.jpg", "c.jpg"],
            "sku": [123.0, None, 12.5],
            "n": [1, 2, 3],
            "tags": [["x", "y"], [], None],
        }
    )
    frame.to_parquet(tmp_path / "t.bin")
    table = open_table(tmp_path / "t.bin", RULES)
    assert list(table.header) == ["path", "sku", "n", "tags"]
    rows = [list(values) for _, values in table.rows]
    assert rows == [["a.jpg", "123", "1", "x|y"], ["b.jpg", None, "2", None], ["c.jpg", "12.5", "3", None]]
    dictionary = pa.table({"path": pa.array(["a.jpg"]).dictionary_encode(), "sku": pa.array([b"007"])})
    pq.write_table(dictionary, tmp_path / "t.parquet")
    assert [list(values) for _, values in open_table(tmp_path / "t.parquet", RULES).rows] == [["a.jpg", "007"]]


MEASURED = """
import json, sys, time
from pathlib import Path
from packshot.catalog.shop.records import open_table
from packshot.config import load_settings

def resident(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))

rules = load_settings(Path(sys.argv[2])).catalog
before = resident("VmRSS")
count = sum(1 for _ in open_table(Path(sys.argv[1]), rules).rows)
print(json.dumps([count, resident("VmHWM") - before]))
"""


def test_a_long_table_is_read_a_row_at_a_time(tmp_path: Path) -> None:
    with (tmp_path / "t.csv").open("w", encoding="cp1252") as handle:
        handle.write("path;sku;title\n")
        for number in range(200_000):
            handle.write(f"folder/item{number}.jpg;{number};Müller Stuhl Nummer {number} aus Holz\n")
    command = [sys.executable, "-c", MEASURED, str(tmp_path / "t.csv"), str(PROJECT / "params.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    count, grown = json.loads(done.stdout)
    assert count == 200_000 and grown < 25, "MiB; the file has 12, its rows as objects over 60"
