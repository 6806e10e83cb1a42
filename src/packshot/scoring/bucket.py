"""A folder of an object store, reached through fsspec: `s3://bucket/prefix`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from packshot.errors import PackshotError
from packshot.files import atomic_path

SEPARATOR = "://"


class StoreFailed(PackshotError):
    """The object store does not answer, or refuses."""

    exit_code = 69

    def __init__(self, address: str, cause: Exception) -> None:
        super().__init__(
            f"{address}: {type(cause).__name__}: {cause}. Check the address and AWS_ACCESS_KEY_ID, "
            "AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL, then run the same command again; what is finished is kept"
        )


@dataclass(frozen=True)
class StoredObject:
    """`name` is relative to the folder; `modified_ns` is 0 where the store does not say."""

    name: str
    size: int
    modified_ns: int


def is_address(place: str) -> bool:
    """Whether this names an object store and not a local path."""
    return SEPARATOR in place


@dataclass(frozen=True)
class Bucket:
    """Objects below `prefix` of the file system `fs`. Every method raises StoreFailed."""

    address: str
    prefix: str
    fs: Any

    @classmethod
    def open(cls, address: str) -> Bucket:
        """The folder at an address; credentials and endpoint come from the environment, as for all AWS tools."""
        import fsspec

        with _told(address):
            fs, prefix = fsspec.core.url_to_fs(address.rstrip("/"), use_listings_cache=False)
        return cls(address.rstrip("/"), prefix.rstrip("/"), fs)

    def objects(self, below: str = "") -> Iterator[StoredObject]:
        """Every object whose name begins with `below`, as the store lists them; S3 is read a page at a time."""
        with _told(self.address):
            for key, size, modified in self._listed(f"{self.prefix}/{below}"):
                at = modified.timestamp() if isinstance(modified, datetime) else 0.0
                yield StoredObject(key.removeprefix(f"{self.prefix}/"), size, round(at * 1e9))

    def has(self, name: str) -> bool:
        """Whether there is such an object."""
        with _told(self.address):
            return bool(self.fs.isfile(f"{self.prefix}/{name}"))

    def read(self, name: str, most: int) -> bytes | None:
        """The first `most` bytes of an object that is not empty; None where there is no such object."""
        with _told(self.address):
            try:
                return bytes(self.fs.cat_file(f"{self.prefix}/{name}", start=0, end=most))
            except FileNotFoundError:
                return None

    def fetch(self, name: str, target: Path) -> None:
        """Copy an object to a local file, atomically."""
        with atomic_path(target) as temporary, _told(self.address):
            self.fs.get_file(f"{self.prefix}/{name}", str(temporary))

    def put(self, source: Path, name: str) -> None:
        """Copy a local file to an object: readers see the old one or the new one."""
        with _told(self.address):
            self.fs.put_file(str(source), f"{self.prefix}/{name}")

    def remove(self, name: str) -> None:
        """Remove an object."""
        with _told(self.address):
            self.fs.rm_file(f"{self.prefix}/{name}")

    def _listed(self, start: str) -> Iterator[tuple[str, int, object]]:
        if not hasattr(self.fs, "call_s3"):
            for key, found in self.fs.find(self.prefix, detail=True).items():
                if key.startswith(start):
                    yield key, found["size"], found.get("created") or found.get("mtime")
            return
        bucket, _, below = start.partition("/")
        more: dict[str, str] = {}
        while True:
            # the listing of s3fs itself is held in memory whole
            page = self.fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=below, **more)
            for found in page.get("Contents", ()):
                yield f"{bucket}/{found['Key']}", found["Size"], found["LastModified"]
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}


@contextmanager
def _told(address: str) -> Iterator[None]:
    try:
        yield
    except (PackshotError, GeneratorExit):
        raise
    except Exception as error:  # each kind of store has errors of its own
        raise StoreFailed(address, error) from error
