"""Public git repositories at pinned commits: only the label files and the drawn images are fetched."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

import pandas as pd

from packshot.catalog.source_record import SourceError
from packshot.catalog.sources.declared import PublicPlace, SetDeclaration
from packshot.catalog.sources.table import SetFacts, SourceTable, labelled, read_label_csv, stack
from packshot.progress import say, track

BATCH = 250
"""Files a request: small enough to show progress and to lose little when a fetch breaks off."""
ANOTHER_REPOSITORY = frozenset({"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX"})
"""Set by git inside a hook; they would turn our commands on the user's own repository."""
STALL = ("-c", "http.lowSpeedLimit=1000", "-c", "http.lowSpeedTime=60")
WANTED_OBJECTS = (
    *STALL,
    *("-c", "fetch.negotiationAlgorithm=noop", "-c", "maintenance.auto=false"),
    *("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--filter=blob:none", "--stdin", "origin"),
)
FULL_COMMIT = 40
REGULAR_FILES = frozenset({"100644", "100755"})
IMAGE_ENDINGS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"})
SCORE_BANDS = 10


def why_unreachable(sets: Mapping[str, SetDeclaration], seconds: float) -> str | None:
    """Why the repositories of these sets do not all answer within `seconds` together, or None where they do."""
    deadline = time.monotonic() + seconds
    for address in dict.fromkeys(_place(name, declared).address for name, declared in sets.items()):
        left = deadline - time.monotonic()
        if left <= 0:
            return f"{address} was not asked in time"
        try:
            _git("ls-remote", "--exit-code", address, "HEAD", seconds=left)
        except GitFailed as failure:
            return f"{address}: {failure.cause}"
    return None


def read_public(sets: Mapping[str, SetDeclaration], downloads: Path, seed: int) -> SourceTable:
    """The labelled images of the repositories, fetched below `downloads` where they are not there yet.

    A fetch that broke off goes on where it stopped: every file is checked against its git object id.
    Raises SourceError where a repository, its commit or its label file is not what was declared.
    """
    frames, facts = [], {}
    for name, declared in sets.items():
        place = _place(name, declared)
        repository = Repository.of(downloads, name, place)
        digest = repository.check_labels()
        labels = draw(LAYOUTS[place.layout](repository), declared, place.limit, seed)
        repository.take(name, [f"{place.images}/{file}" for file in labels["file"]])
        where = repository.folder / place.labels
        frames.append(labelled(name, declared, repository.folder / place.images, labels, where))
        facts[name] = SetFacts(place.address, declared.licence, repository.commit, digest, declared.styles)
    return SourceTable(stack(frames), facts)


def draw(labels: pd.DataFrame, declared: SetDeclaration, limit: int | None, seed: int) -> pd.DataFrame:
    """About `limit` rows: whole senders where the set has senders, else an even share of every subset and score.

    The draw depends on names and seed alone, so that the same rows come again.
    """
    if limit is None or len(labels) <= limit:
        return labels
    order = [hashlib.sha256(f"{seed}\n{file}".encode()).hexdigest() for file in labels["file"]]
    labels = labels.assign(_order=order).sort_values("_order").drop(columns="_order")
    sender = declared.columns.get("sender")
    if sender:
        before = labels.groupby(sender, sort=False)[sender].size().cumsum().shift(fill_value=0)
        return labels[labels[sender].isin(before[before < limit].index)].sort_values("file")
    # Every n-th row of the strata laid end to end: their shares come out right however small they are.
    laid = labels.assign(_stratum=_strata(labels, declared)).sort_values("_stratum", kind="stable")
    taken = [place * len(labels) // limit for place in range(limit)]
    return laid.iloc[taken].drop(columns="_stratum").sort_values("file")


def _strata(labels: pd.DataFrame, declared: SetDeclaration) -> pd.Series[str]:
    subset = declared.columns.get("subset")
    score = declared.columns.get("quality_mos")
    stratum = labels[subset].astype(str) if subset else pd.Series("", index=labels.index)
    if score:
        bands = (pd.to_numeric(labels[score], errors="coerce").fillna(0) * SCORE_BANDS).astype(int)
        stratum = stratum + " " + bands.astype(str)
    return stratum


class GitFailed(SourceError):
    """A git command failed or took too long; `cause` is what it said."""

    def __init__(self, command: str, cause: str) -> None:
        super().__init__(f"`{command}` failed: {cause}")
        self.cause = cause


@dataclass(frozen=True)
class Repository:
    """A partial clone: the commit's list of files, and the contents of those files that were asked for."""

    folder: Path
    place: PublicPlace
    commit: str
    """The full id."""

    @classmethod
    def of(cls, downloads: Path, name: str, place: PublicPlace) -> Repository:
        """The clone of `place` below `downloads`, made where it is missing. Raises SourceError."""
        folder = downloads / f"{name}-{hashlib.sha256(place.address.encode()).hexdigest()[:8]}"
        if not (folder / ".git").exists():
            folder.mkdir(parents=True, exist_ok=True)
            _git("init", "--quiet", "--template=", ".", folder=folder)
            _git("config", "core.autocrlf", "false", folder=folder)
            _git("config", "core.symlinks", "false", folder=folder)
            _git("remote", "add", "origin", place.address, folder=folder)
        commit = _resolve(folder, place.commit)
        if commit is None:
            say(f"public: fetching the list of files of {place.address} at {place.commit}")
            _fetch(folder, place)
            commit = _resolve(folder, place.commit)
        if commit is None:
            raise SourceError(
                f"{place.address} has no commit {place.commit}; correct the set {name} in the declaration of sources"
            )
        return cls(folder, place, commit)

    @cached_property
    def files(self) -> dict[str, str]:
        """Path to git object id, of all regular files of the commit."""
        listing = _git("ls-tree", "-r", "-z", self.commit, folder=self.folder)
        entries = (line.split("\t", 1) for line in listing.split("\0") if line)
        return {path: facts.split()[2] for facts, path in entries if facts.split()[0] in REGULAR_FILES}

    def check_labels(self) -> str | None:
        """Fetch the label file and return its sha256, None where labels are folders. Raises SourceError."""
        labels = self.place.labels
        if labels not in self.files:
            if any(path.startswith(f"{labels}/") for path in self.files):
                return None
            raise SourceError(f"{self.place.address} at {self.place.commit} has no {labels}")
        self.take("labels", [labels])
        digest = hashlib.sha256((self.folder / labels).read_bytes()).hexdigest()
        if self.place.sha256 and digest != self.place.sha256:
            raise SourceError(
                f"{labels} of {self.place.address} has sha256 {digest}, declared is {self.place.sha256}; "
                "correct the declaration if the new file is meant"
            )
        return digest

    def take(self, what: str, paths: Iterable[str]) -> None:
        """Bring the contents of `paths` to disk; those that the commit lacks are left out."""
        wanted = [path for path in paths if path in self.files]
        missing = [path for path in wanted if not _is_object(self.folder / path, self.files[path])]
        batches = [missing[start : start + BATCH] for start in range(0, len(missing), BATCH)]
        for batch in track(batches, f"public: {what}", unit=f"batches of {BATCH}") if len(batches) > 1 else batches:
            for path in batch:
                (self.folder / path).unlink(missing_ok=True)
            # One request for the batch: `checkout` alone would ask the server for file after file.
            _git(*WANTED_OBJECTS, folder=self.folder, given="\n".join(self.files[path] for path in batch))
            _git(
                *("checkout", "--quiet", self.commit, "--pathspec-from-file=-", "--pathspec-file-nul"),
                folder=self.folder,
                given="\0".join(batch),
            )
        wrong = [path for path in missing if not _is_object(self.folder / path, self.files[path])]
        if wrong:
            raise SourceError(f"{self.place.address}: {wrong[0]} and {len(wrong) - 1} more differ from their checksum")

    def text(self, path: str) -> str:
        """A text file that was taken; empty where the commit lacks it."""
        return (self.folder / path).read_text(encoding="utf-8", errors="replace").strip() if path in self.files else ""


def _scored_table(repository: Repository) -> pd.DataFrame:
    """`Image Name,MOS`; the subset is the first word of the name: `ss01 (10).jpg`."""
    table = _table(repository, "Image Name", "MOS")
    table = table[table["Image Name"].str.strip() != ""]
    return pd.DataFrame(
        {
            "file": table["Image Name"].str.strip(),
            "subset": table["Image Name"].str.extract(r"^\s*(ss\d+)", expand=False).fillna(""),
            "mos": table["MOS"],
        }
    )


def _sender_table(repository: Repository) -> pd.DataFrame:
    """`image,sender_id,label,kids`; the image is named without its ending."""
    table = _table(repository, "image", "sender_id", "label", "kids")
    return pd.DataFrame(
        {
            "file": table["image"] + ".jpg",
            "sender_id": table["sender_id"],
            "category": table["label"],
            "kids": table["kids"],
        }
    )


def _style_folders(repository: Repository) -> pd.DataFrame:
    """A folder for each style; its images have that style."""
    root = PurePosixPath(repository.place.images)
    files = [
        PurePosixPath(path).relative_to(root).as_posix()
        for path in sorted(repository.files)
        if PurePosixPath(path).parent.parent == root and PurePosixPath(path).suffix.lower() in IMAGE_ENDINGS
    ]
    return pd.DataFrame({"file": files, "style": [file.split("/")[0] for file in files]}, dtype=object)


def _product_table(repository: Repository) -> pd.DataFrame:
    """A class a line, with the paths of its picture on white and of its description."""
    image, name, category = "Iconic Image Path (str)", "Class Name (str)", "Coarse Class Name (str)"
    table = _table(repository, image, name, category)
    files = table[image].str.strip().str.lstrip("/")
    texts = [f"{repository.place.images}/{file.removesuffix('_Iconic.jpg')}_Description.txt" for file in files]
    repository.take("descriptions", texts)
    return pd.DataFrame(
        {
            "file": files,
            "name": table[name].str.replace("-", " "),
            "category": table[category],
            "description": [repository.text(path) for path in texts],
        }
    )


LAYOUTS: dict[str, Callable[[Repository], pd.DataFrame]] = {
    "scored_table": _scored_table,
    "sender_table": _sender_table,
    "style_folders": _style_folders,
    "product_table": _product_table,
}


def _table(repository: Repository, *columns: str) -> pd.DataFrame:
    path = repository.folder / repository.place.labels
    table = read_label_csv(path)
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise SourceError(
            f"{repository.place.labels} of {repository.place.address} lacks the column(s) {', '.join(missing)}; "
            f"it has {', '.join(map(str, table.columns))}"
        )
    return table


def _place(name: str, declared: SetDeclaration) -> PublicPlace:
    if declared.public is None:
        raise SourceError(f"the set {name} has no `public` in the declaration of sources; give it one")
    return declared.public


def _fetch(folder: Path, place: PublicPlace) -> None:
    """The trees of the pinned commit without file contents; a short id needs the branches to be found in."""
    if len(place.commit) == FULL_COMMIT:
        _git(*STALL, "fetch", "--quiet", "--depth=1", "--filter=blob:none", "origin", place.commit, folder=folder)
    else:
        heads = "+refs/heads/*:refs/remotes/origin/*"
        _git(*STALL, "fetch", "--quiet", "--no-tags", "--filter=blob:none", "origin", heads, folder=folder)


def _resolve(folder: Path, commit: str) -> str | None:
    try:
        return _git("rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}", folder=folder).strip() or None
    except GitFailed:
        return None


def _is_object(file: Path, object_id: str) -> bool:
    """Whether the file's content has this git object id (SHA-1 of `blob <size> NUL <content>`)."""
    if not file.is_file() or file.is_symlink():
        return False
    content = file.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest() == object_id


def _git(*arguments: str, folder: Path | None = None, given: str = "", seconds: float | None = None) -> str:
    """Standard output of a git command. Raises GitFailed with what it said, or that it took too long.

    Git and its transport helpers share a process group of their own, so that a helper that hangs ends too.
    """
    environment = {
        **{name: value for name, value in os.environ.items() if name not in ANOTHER_REPOSITORY},
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_LITERAL_PATHSPECS": "1",
        "LC_ALL": "C",
    }
    command = f"git {' '.join(arguments[:6])}"
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(
                ["git", *arguments],
                cwd=folder,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=errors,
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise GitFailed(command, "git is not installed") from error
        try:
            process.communicate(given.encode(errors="surrogateescape"), timeout=seconds)
        except subprocess.TimeoutExpired as error:
            raise GitFailed(command, f"no answer within {seconds:.0f} s") from error
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        output.seek(0)
        errors.seek(0)
        if process.returncode:
            said = errors.read().decode(errors="replace").strip().splitlines()
            raise GitFailed(command, said[-1] if said else f"exit code {process.returncode}")
        return output.read().decode(errors="surrogateescape")
