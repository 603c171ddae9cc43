"""Other machines' files through fsspec: how to reach them, to read them from any place on, and what their failures mean."""

import contextlib
import re
from collections.abc import Iterator
from typing import Any

from cosmos_ops.errors import UserError
from cosmos_ops.logs.spelling import plain

WEB = ("http://", "https://")
_LOGIN = re.compile(r"://[^/?#@]*:[^/?#]*@")
_SIGNED = re.compile(r"[?&][^=&#]*(?:sign|token|secret|passw|credential|key)[^=&#]*=", re.IGNORECASE)


class Unreachable(Exception):
    """The other side did not answer as it should; trying again may help. The message says what in one line."""


def connect(url: str) -> tuple[Any, str]:
    """(fsspec file system, what it calls the place). Raises `UserError` where the protocol is unknown or its package is missing."""
    import fsspec
    from fsspec.registry import known_implementations

    # It is kept beside the drop, shown and logged.
    if _SIGNED.search(url) or _LOGIN.search(url):
        where = "its protocol's own place (AWS_... variables, ~/.aws, gcloud's login, fsspec's configuration)"
        raise UserError(
            f"{_SIGNED.split(_LOGIN.sub('://', url))[0]} holds a password or a signature; keep those in {where}, or download the log and give the folder"
        )
    protocol = re.split(r"::|://", url)[0]
    options = {"headers": {"Accept-Encoding": "identity"}} if url.startswith(WEB) else {}  # packed on the way, sizes could not be compared
    try:
        return fsspec.core.url_to_fs(url, **options)
    except ImportError:
        package = str(known_implementations.get(protocol, {}).get("class", protocol)).partition(".")[0]
        package = {"fsspec": "aiohttp" if protocol in ("http", "https") else "fsspec"}.get(package, package)
        raise UserError(f"{url} needs the package {package}, which is not installed; pip install {package}") from None
    except (ValueError, OSError, TypeError, RuntimeError) as error:
        raise UserError(f"{url} is no URL that can be read ({_reason(error)}); known protocols are s3, gs, http, https, file and others of fsspec") from None


@contextlib.contextmanager
def asking(url: str) -> Iterator[None]:
    """Turns what goes wrong with the other side into `UserError` where it will stay so, else into `Unreachable`."""
    try:
        yield
    except (UserError, Unreachable):
        raise
    except FileNotFoundError as error:
        cause = error.__cause__  # of the web, fsspec calls everything not found
        status = getattr(cause, "status", 404)
        if isinstance(cause, OSError) or status >= 500:
            raise Unreachable(_reason(cause)) from None
        if status in (401, 403):
            raise UserError(f"{url} may not be read (status {status}); make it readable, or download it and give the folder") from None
        raise UserError(f"{url} does not exist ({_reason(error)}); give the URL of a log folder or file") from None
    except PermissionError as error:
        raise UserError(f"{url} may not be read ({_reason(error)}); check the credentials that its protocol's package uses") from None
    except ImportError as error:
        raise UserError(f"{url} needs a package that is not installed: {_reason(error)}") from None
    except Exception as error:
        if type(error).__name__ == "NoCredentialsError":
            raise UserError(f"{url} needs credentials ({_reason(error)}); set those that its protocol's package reads, AWS_ACCESS_KEY_ID and so on") from None
        # Each protocol's package has failures of its own, most of them of the network.
        raise Unreachable(_reason(error)) from None


def read_from(system: Any, url: str, place: str, size_bytes: int | None, start: int, chunk_bytes: int) -> Iterator[bytes]:
    """A file's bytes from `start` on, in parts; a start above 0 needs its size.

    Raises `UserError`, `Unreachable`, and `ValueError` where it can only be read from its beginning.
    """
    web = url.startswith(WEB)
    # A stream in one answer, where nothing is to be skipped: not every web server gives parts.
    options = {"block_size": 0} if web and start == 0 else {}
    try:
        with asking(url), system.open(place, "rb", **options) as stream:
            if start == 0:
                while content := stream.read(chunk_bytes):
                    yield content
            for at in range(start, size_bytes if start else 0, chunk_bytes):
                yield _part(stream, at, min(chunk_bytes, size_bytes - at), first=at == start)
    except _OnlyFromTheStart:
        raise ValueError(f"{place} can only be read from its beginning") from None


class _OnlyFromTheStart(UserError):
    pass


def _part(stream, place: int, size: int, first: bool) -> bytes:
    """Exactly what is asked for: fsspec fetches a file whole where more is."""
    try:
        stream.seek(place)
        content = stream.read(size)
    except ValueError:  # what fsspec raises where a server or a stream gives no parts
        if first:
            raise _OnlyFromTheStart from None
        raise
    if len(content) != size:  # what follows would land in the wrong place
        raise Unreachable(f"{len(content)} bytes came where {size} were asked for")
    return content


def _reason(error: BaseException) -> str:
    return plain(" ".join(str(error).split()))[:200] or type(error).__name__
