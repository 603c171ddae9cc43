"""The objects of a store through fsspec: each call is tried several times, and what then goes wrong is one clear line.

The store's own package takes credentials and addresses from its own variables (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`, ...); nothing is read here.
"""

import errno
import functools
import os
import random
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from cosmos_ops.errors import UserError, WorkFailed
from cosmos_ops.store.place import Place

ATTEMPTS, FIRST_PAUSE_S, PAUSE_FACTOR = 5, 0.25, 3.0
"""About ten seconds of pauses in all; the same command continues later."""
AT_ONCE = 8
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)
"""Failures of this machine's disk, which no other try mends."""
_CONNECT_S, _READ_S = 5, 20
_SENT_AGAIN_BYTES = 1 << 20
"""Smaller objects are sent without asking whether they are there."""
_HASH = "sha256"

T = TypeVar("T")


class Conflict(Exception):
    """Somebody else wrote the object since it was read."""


class Objects:
    """What lies below one URL. Names are relative to it."""

    def __init__(self, url: str):
        self.url = url
        self._system, self._base = _connect(url)
        self.is_s3 = "s3" in _protocols(self._system)
        """Whether writes can be made conditional, and hashes kept beside objects."""

    def read(self, name: str) -> tuple[bytes, str] | None:
        """An object's content and its version's tag (empty where the store has none); None where it is not there."""
        return self._tried(name, lambda: self._get(name))

    def write(self, name: str, content: bytes, tag: str | None = "") -> None:
        """Write a small object; with a `tag` only over that version, with None only where there is none. Raises `Conflict`."""
        only = {"IfMatch": tag} if tag else {"IfNoneMatch": "*"} if tag is None else {}
        written = self._tried(name, lambda: (self._system.pipe_file(self._at(name), content, **(only if self.is_s3 else {})), True)[1], missing=False)
        if not written:  # S3's answer where the version to write over was removed
            raise Conflict(name)

    def fetch(self, name: str, path: Path) -> bool:
        """Bring an object to a file; False where it is not there."""
        return self._tried(name, lambda: (self._system.get_file(self._at(name), str(path)), True)[1], missing=False)

    def send(self, name: str, path: Path, sha256: str) -> None:
        """Send a file, unless the store has a large one of that hash already."""
        if path.stat().st_size >= _SENT_AGAIN_BYTES and self._hash_of(name) == sha256:
            return
        beside = {"Metadata": {_HASH: sha256}} if self.is_s3 else {}
        if not self._tried(name, lambda: (self._system.put_file(str(path), self._at(name), **beside), True)[1], missing=False):
            raise WorkFailed(f"{path} could not be sent to {self.url}/{name}: it or the upload went away meanwhile; run the same command again")

    def remove(self, names: Iterable[str]) -> None:
        """Remove objects; those that are not there are no failure."""
        for name in names:
            self._tried(name, lambda name=name: self._system.rm_file(self._at(name)), missing=None)

    def listed(self, folder: str) -> tuple[list[str], dict[str, int]]:
        """Names of the folders, and sizes in bytes of the objects by name, directly in a folder: one request a thousand of them."""
        entries = self._tried(folder, lambda: self._system.ls(self._at(folder), detail=True, refresh=True), missing=[])
        inside = [entry for entry in entries if entry["name"].rstrip("/") != self._at(folder)]
        folders = sorted(entry["name"].rstrip("/").rpartition("/")[2] for entry in inside if entry["type"] == "directory")
        return folders, {entry["name"].rpartition("/")[2]: entry["size"] for entry in inside if entry["type"] != "directory"}

    def below(self, folder: str) -> dict[str, int]:
        """Size of every object below a folder, by its name relative to it."""
        start = len(self._at(folder)) + 1
        found = self._tried(folder, lambda: self._system.find(self._at(folder), detail=True, refresh=True), missing={})
        return {name[start:]: entry["size"] for name, entry in sorted(found.items()) if len(name) > start}

    def _get(self, name: str) -> tuple[bytes, str]:
        if not self.is_s3:
            return self._system.cat_file(self._at(name)), ""
        from fsspec.asyn import sync

        bucket, key, _ = self._system.split_path(self._at(name))
        answer = self._system.call_s3("get_object", Bucket=bucket, Key=key)
        return sync(self._system.loop, answer["Body"].read), answer["ETag"]

    def _hash_of(self, name: str) -> str | None:
        """Hash that was recorded with an object."""
        if not self.is_s3:
            return None
        bucket, key, _ = self._system.split_path(self._at(name))
        answer = self._tried(name, lambda: self._system.call_s3("head_object", Bucket=bucket, Key=key))
        return answer["Metadata"].get(_HASH) if answer else None

    def _at(self, name: str) -> str:
        return f"{self._base}/{name}" if name else self._base

    def _tried(self, name: str, call: Callable[[], T], missing: Any = None) -> T:
        """What `call` returns, `missing` where the object is not there. Raises `UserError` where trying again is no use, `WorkFailed` where it was not."""
        reason = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(FIRST_PAUSE_S * PAUSE_FACTOR ** (attempt - 1) * random.uniform(0.8, 1.2))
            try:
                return call()
            except FileNotFoundError as error:
                if _code(error) == "NoSuchBucket":
                    raise UserError(f"the lake's store has no bucket for {self.url}; make it, or correct COSMOS_LAKE") from None
                return missing
            except PermissionError as error:
                if _code(error) not in ("RequestTimeTooSkewed",):
                    raise UserError(f"{self.url} refuses access ({_line(error)}); check the credentials that the store's package reads") from None
                reason = _line(error)
            except OSError as error:
                if error.errno in _DISK:
                    raise
                reason = self._judged(name, error)
            except Exception as error:  # each store's package has failures of its own, most of them of the network
                reason = self._judged(name, error)
        raise WorkFailed(
            f"the lake's store does not answer as it should for {self.url}/{name} ({reason}); nothing is lost: run the same command again when it does"
        )

    def _judged(self, name: str, error: Exception) -> str:
        """What to say of a failure that may pass; those that will not are raised."""
        if _code(error) in ("PreconditionFailed", "ConditionalRequestConflict"):
            raise Conflict(name) from None
        if type(error).__name__ == "NoCredentialsError":
            raise UserError(f"{self.url} needs credentials ({_line(error)}); for s3:// set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY") from None
        return _line(error)


def objects(place: Place) -> Objects:
    """The store of a place, one connection a process."""
    return _objects(place.url, os.getpid())


def in_parallel(call: Callable[[Any], Any], items: Iterable[Any]) -> list:
    """`call` of each item, several at once; the first failure is raised when those under way have ended."""
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="store") as pool:
        waiting = [pool.submit(call, item) for item in items]
        try:
            return [future.result() for future in waiting]
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


@functools.lru_cache(maxsize=16)
def _objects(url: str, process: int) -> Objects:
    return Objects(url)


def _connect(url: str) -> tuple[Any, str]:
    import fsspec

    protocol = url.partition("://")[0]
    options: dict[str, Any] = {"skip_instance_cache": True, "use_listings_cache": False}
    if protocol in ("s3", "s3a"):
        # Trying again is done here, the same for every store.
        options["config_kwargs"] = {
            "retries": {"total_max_attempts": 1},
            "connect_timeout": _CONNECT_S,
            "read_timeout": _READ_S,
            "max_pool_connections": 4 * AT_ONCE,
        }
    try:
        system, base = fsspec.core.url_to_fs(url, **options)
    except ImportError as error:
        package = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs"}.get(protocol, protocol)
        raise UserError(f"a lake at {url} needs the package {package} ({_line(error)}); pip install {package}") from None
    except (ValueError, OSError, TypeError, RuntimeError) as error:
        raise UserError(f"{url} is no URL that a lake can be at ({_line(error)}); for example s3://bucket/prefix") from None
    if hasattr(system, "retries"):
        system.retries = 1
    return system, base.rstrip("/")


def _protocols(system: Any) -> tuple[str, ...]:
    return (system.protocol,) if isinstance(system.protocol, str) else tuple(system.protocol)


def _code(error: BaseException) -> str:
    """S3's own name for a failure."""
    for found in (error, error.__cause__):
        response = getattr(found, "response", None)
        if isinstance(response, dict):
            return str(response.get("Error", {}).get("Code", ""))
    return ""


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
