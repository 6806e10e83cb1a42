"""Local git repositories in the layouts of the public ones, made from a mirror.

As a script: `python tests/catalog/public_repositories.py MIRROR OUT`, then
`PACKSHOT_SOURCES=OUT/sources.yaml PACKSHOT_SOURCE=public packshot collect`.
"""

from __future__ import annotations

import csv
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

Rows = list[dict[str, str]]
PROJECT = Path(__file__).resolve().parents[2]


def build(mirror: Path, out: Path, declaration: Path = PROJECT / "data" / "sources.yaml") -> Path:
    """Make one repository for each public set of `declaration`; returns a declaration that points at them."""
    declared = yaml.safe_load(declaration.read_text(encoding="utf-8"))
    for name, entry in declared["sets"].items():
        if "public" not in entry:
            continue
        place, folder = entry["public"], mirror / entry["mirror"]["folder"]
        repository = out / name
        repository.mkdir(parents=True)
        with open(folder / entry["mirror"]["labels"], encoding="utf-8", newline="") as labels:
            rows = list(csv.DictReader(labels))
        WRITERS[place["layout"]](rows, folder / entry["mirror"]["images"], repository, place)
        (repository / "README.md").write_text(f"# {entry['title']}\n", encoding="utf-8")
        place["address"] = repository.resolve().as_uri()
        place["commit"] = commit(repository)
        if (repository / place["labels"]).is_file():
            place["sha256"] = hashlib.sha256((repository / place["labels"]).read_bytes()).hexdigest()
    path = out / "sources.yaml"
    path.write_text(yaml.safe_dump(declared, sort_keys=False), encoding="utf-8")
    return path


def commit(repository: Path) -> str:
    """Commit everything in the folder; the same files give the same id."""
    environment = {
        **os.environ,
        "GIT_AUTHOR_DATE": "2024-01-01T00:00:00Z",
        "GIT_COMMITTER_DATE": "2024-01-01T00:00:00Z",
    }
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        environment.pop(name, None)

    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=Packshot", "-c", "user.email=packshot@localhost", "-c", "commit.gpgsign=false")
        done = subprocess.run(
            ["git", *identity, *arguments], cwd=repository, env=environment, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    if not (repository / ".git").exists():
        git("init", "--quiet", "--initial-branch=main", ".")
        git("config", "uploadpack.allowFilter", "true")
        git("config", "uploadpack.allowAnySHA1InWant", "true")
    git("add", "--all")
    git("commit", "--quiet", "--message", "Images and labels")
    return git("rev-parse", "HEAD")


def _copy(source: Path, target: Path) -> None:
    if source.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())


def _write(path: Path, header: list[str], rows: list[list[str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="") as table:
        csv.writer(table, lineterminator="\n").writerows([header, *rows])


def _scored_table(rows: Rows, images: Path, repository: Path, place: dict[str, Any]) -> None:
    """`Images/ss01 (10).jpg` and a table with two nameless columns at its end, as in the public file."""
    lines = []
    for number, row in enumerate(rows, start=1):
        name = f"{row['subset']} ({number}).jpg"
        _copy(images / row["file"], repository / place["images"] / name)
        lines.append([name, row["mos"], "", ""])
    _write(repository / place["labels"], ["Image Name", "MOS", "", ""], lines)


def _sender_table(rows: Rows, images: Path, repository: Path, place: dict[str, Any]) -> None:
    for row in rows:
        _copy(images / row["file"], repository / place["images"] / row["file"])
    lines = [[row["file"].removesuffix(".jpg"), row["sender_id"], row["category"], row["kids"]] for row in rows]
    _write(repository / place["labels"], ["image", "sender_id", "label", "kids"], lines)


def _style_folders(rows: Rows, images: Path, repository: Path, place: dict[str, Any]) -> None:
    for number, row in enumerate(rows, start=1):
        _copy(images / row["file"], repository / place["images"] / row["style"] / f"{number:08d}.jpg")
    for style in {row["style"] for row in rows}:
        (repository / place["images"] / f"{style}-urls.txt").write_text("addresses\n", encoding="utf-8")


def _product_table(rows: Rows, images: Path, repository: Path, place: dict[str, Any]) -> None:
    lines = []
    for number, row in enumerate(rows):
        stem = row["file"].removesuffix("_Iconic.jpg")
        folder = f"iconic-images-and-descriptions/{row['category']}/{stem}"
        _copy(images / row["file"], repository / place["images"] / folder / row["file"])
        description = repository / place["images"] / folder / f"{stem}_Description.txt"
        description.parent.mkdir(parents=True, exist_ok=True)
        description.write_text(row["description"], encoding="utf-8")
        paths = [f"/{folder}/{row['file']}", f"/{folder}/{stem}_Description.txt"]
        lines.append([stem, str(number), row["category"], str(number), *paths])
    header = [
        *("Class Name (str)", "Class ID (int)", "Coarse Class Name (str)", "Coarse Class ID (int)"),
        *("Iconic Image Path (str)", "Product Description Path (str)"),
    ]
    _write(repository / place["labels"], header, lines)


WRITERS: dict[str, Callable[[Rows, Path, Path, dict[str, Any]], None]] = {
    "scored_table": _scored_table,
    "sender_table": _sender_table,
    "style_folders": _style_folders,
    "product_table": _product_table,
}

if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    print(build(Path(sys.argv[1]), Path(sys.argv[2])))
