"""What lies beside pictures and is none of them: left by systems, disks and archives, or a file of another kind.

A shop's folder is seldom pictures alone. What a NAS, an operating system or an archive leaves behind is not the shop's,
least of all the thumbnails among it; and a data sheet is no picture that somebody should mend. They are told apart by
name: a picture under a wrong name is one that a person should see.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal

from packshot.progress import say

Kind = Literal["left by systems", "outputs of Packshot", "no pictures"]

FOLDERS = frozenset(
    {
        *("@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot", "@tmp", "@sharebin"),
        *("@__thumb", "@appstore", "@database", "@synoresource", "temporary items", "thevolumesettingsfolder"),
        *("__macosx", "$recycle.bin", "recycler", "system volume information", "lost+found", "network trash folder"),
    }
)
"""Of NAS boxes, archives and file systems, in lower case; nothing below them counts."""
NAMES = frozenset(
    {
        *("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "folder.htt", "icon\r", "picasa.ini"),
        *("zbthumbnail.info", "pspbrwse.jbf", "autorun.inf", "synoindex_media_info", "dumpdata.log"),
        *("thumbs.db:encryptable", "albumartsmall.jpg", "@synoresource", "syno@eastream"),
    }
)
SYSTEM_ENDINGS = frozenset(
    {
        *("tmp", "part", "partial", "filepart", "crdownload", "opdownload", "download", "!ut", "lock", "bak", "swp"),
        *("lnk", "url", "webloc", "lrprev", "lrtpreview", "cot", "cop", "chk"),
    }
)
"""Of downloads that are not done, links, locks, backups, and caches of thumbnails."""
_LEFT_NAMES = re.compile(
    r"syno(photo|file)_(thumb|film)_.*|albumart_\{.*|~\$.*|.*:zone\.identifier|.*@syno(eastream|resource)", re.S
)
_LEFT_FOLDERS = re.compile(r"found\.\d{3}|.*\.lrdata", re.S)
OTHER_ENDINGS = frozenset(
    {
        *("txt", "md", "rtf", "pdf", "doc", "docx", "odt", "pages", "ppt", "pptx", "odp", "key", "htm", "html", "log"),
        *(
            "csv",
            "tsv",
            "xls",
            "xlsx",
            "ods",
            "numbers",
            "parquet",
            "json",
            "xml",
            "yaml",
            "yml",
            "ini",
            "sqlite",
            "db",
        ),
        *("mp4", "m4v", "mov", "avi", "mkv", "webm", "wmv", "mpg", "mpeg", "3gp", "mts"),
        *("mp3", "wav", "flac", "m4a", "ogg", "aac", "wma"),
        *("zip", "rar", "7z", "tar", "gz", "bz2", "xz", "iso", "dmg", "exe", "msi", "sh", "bat", "py", "js", "css"),
        *("msg", "eml", "vsd", "nfo", "sfv", "md5", "sha1", "sha256", "par2", "torrent", "m3u", "dll", "swf", "flv"),
        *("eot", "sqlite3", "lrcat", "dop", "pp3", "cos"),
        *("xmp", "thm", "aae", "cube", "icc", "icm", "ttf", "otf", "woff", "woff2", "stl", "obj", "glb", "step"),
    }
)
"""Files of other kinds, and what cameras and editors keep beside a picture."""
OTHER_NAMES = frozenset(
    {"readme", "license", "licence", "copying", "changelog", "notice", "makefile", "md5sums", "sha256sums", "checksums"}
)
NAMED = 5


def kind_of(path: str) -> Kind | None:
    """Which kind of other file a POSIX path is, relative to the folder of the pictures; None for what may be one."""
    *folders, name = PurePosixPath(path).parts
    lower = name.casefold()
    ending = lower.rpartition(".")[2] if "." in lower else ""
    if lower in NAMES or ending in SYSTEM_ENDINGS or lower.endswith("~") or _LEFT_NAMES.fullmatch(lower):
        return "left by systems"
    if any(map(is_left_folder, folders)):
        return "left by systems"
    return "no pictures" if ending in OTHER_ENDINGS or lower in OTHER_NAMES else None


def is_left_folder(name: str) -> bool:
    """Whether nothing in a folder of this name is the shop's."""
    return name.casefold() in FOLDERS or _LEFT_FOLDERS.fullmatch(name.casefold()) is not None


@dataclass
class PassedOver:
    """What a walk left out: how many of each kind, and the first names."""

    counts: Counter[Kind] = field(default_factory=Counter)
    first: dict[Kind, list[str]] = field(default_factory=dict)

    def takes(self, path: str) -> bool:
        """Count a path where it is one to pass over."""
        kind = kind_of(path)
        if kind is not None:
            self.add(path, kind)
        return kind is not None

    def add(self, path: str, kind: Kind) -> None:
        """Count a file, or a folder with all that is in it."""
        self.counts[kind] += 1
        names = self.first.setdefault(kind, [])
        if len(names) < NAMED:
            names.append(path)

    def tell(self) -> None:
        """One line for all of it."""
        said = [f"{count} {kind} ({_named(self.first[kind], count)})" for kind, count in sorted(self.counts.items())]
        if said:
            say(f"passed over: {'; '.join(said)}")


def _named(names: list[str], count: int) -> str:
    return ", ".join(names) + (", …" if count > len(names) else "")
