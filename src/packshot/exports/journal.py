"""Which files of a folder are finished, and what each was made from: a line for each, so that a kill loses none."""

from __future__ import annotations

import json
from pathlib import Path

from packshot.files import OutputNotWritable, write_text

UNFINISHED = ""
"""The key of a file that was begun."""


class Journal:
    """The files below the folder of `path`, by name. One process at a time may hold it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._done = _read(path)
        self._kept: set[str] = set()

    def has(self, name: str, key: str) -> bool:
        """Whether the file is there and was made from `key`."""
        return self._done.get(name) == key and (self._path.parent / name).is_file()

    def begin(self, name: str) -> None:
        """Note that the file may come to be, so that a kill leaves none unknown. Raises OutputNotWritable."""
        if name not in self._done:
            self.add(name, UNFINISHED)

    def add(self, name: str, key: str) -> None:
        """Note that the file is in place. Raises OutputNotWritable."""
        self._done[name] = key
        try:
            with self._path.open("a", encoding="utf-8") as handle:
                handle.write(_line(name, key))
        except OSError as error:
            raise OutputNotWritable(self._path, error) from error

    def keep(self, name: str) -> None:
        """Say that the file still belongs to the folder."""
        self._kept.add(name)

    def forget_others(self) -> int:
        """Remove every file of the journal that was not kept; return how many. Then only the kept ones stand in it."""
        others = [name for name in self._done if name not in self._kept]
        for name in others:
            (self._path.parent / name).unlink(missing_ok=True)
            del self._done[name]
        write_text(self._path, "".join(_line(name, key) for name, key in sorted(self._done.items())))
        return len(others)


def _line(name: str, key: str) -> str:
    return json.dumps({"name": name, "key": key}) + "\n"


def _read(path: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    if not path.exists():
        return found
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
            found[str(entry["name"])] = str(entry["key"])
        except (ValueError, KeyError, TypeError):
            continue  # the last line of a killed run
    return found
