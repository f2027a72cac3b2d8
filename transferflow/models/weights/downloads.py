"""Downloads that resume after a cut and are checked before they are used."""

from __future__ import annotations

import base64
import http.client
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from transferflow.errors import DownloadError, MissingDependencyError, WeightsError
from transferflow.store import file_digest
from transferflow.store.file_locks import file_lock

OnBytes = Callable[[int, int | None], None]
CHUNK = 1 << 20
TRIES = 6
LOGIN_HINT = "a login goes into ~/.netrc for http(s), and to where fsspec looks for s3, gs and others"


@dataclass(frozen=True)
class Patience:
    """How long to bear with a server.

    Attributes:
        timeout: Seconds without a single byte after which the connection counts as cut.
        tries: Connections in a row that may bring nothing new.
        pause: Seconds before the second try; doubled for each further one.
    """

    timeout: float = 30.0
    tries: int = TRIES
    pause: float = 0.5


def download(
    url: str,
    target: Path,
    *,
    sha256: str | None,
    progress: OnBytes | None = None,
    patience: Patience | None = None,
) -> Path:
    """Fetch `url` to `target`, resuming what an earlier try left; several processes may ask at once.

    Args:
        url: http(s), or any scheme that fsspec opens (s3, gs, …).
        target: Final path; a part file stands beside it until the hash is right.
        sha256: The file's hash, or the start of it (8 hex digits or more); without one nothing is resumed.
        progress: Called with bytes so far and bytes in all (when the server says it).
        patience: Timeouts and retries.

    Raises:
        DownloadError: If the server is not reached, refuses, or keeps cutting.
        WeightsError: If the content has another hash, or can't be written.
    """
    part = target.with_name(f"{target.name}.part")
    with _locked(target):
        if target.is_file():
            return target
        resumed = sha256 is not None and part.is_file() and part.stat().st_size > 0
        if not resumed:
            part.unlink(missing_ok=True)
        _fill(url, part, progress, patience or Patience(), can_resume=sha256 is not None)
        if sha256 is not None and not file_digest(part).startswith(sha256):
            found = file_digest(part)
            part.unlink()
            if not resumed:
                raise _wrong_hash(url, sha256, found)
            # The old part may belong to a file that has since been replaced: once more, from the start.
            _fill(url, part, progress, patience or Patience(), can_resume=True)
            if not (found := file_digest(part)).startswith(sha256):
                part.unlink()
                raise _wrong_hash(url, sha256, found)
        part.replace(target)
    return target


class _Reader(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Arriving:
    """Hands out what has come instead of waiting for a whole chunk, so that a cut loses little."""

    def __init__(self, reply: http.client.HTTPResponse) -> None:
        self._reply = reply

    def read(self, size: int, /) -> bytes:
        return self._reply.read1(size)


class _WrongRangeError(http.client.HTTPException):
    """The server answered with another range than the one asked for."""


@contextmanager
def _locked(target: Path) -> Iterator[None]:
    with ExitStack() as held:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            held.enter_context(file_lock(target.with_name(f"{target.name}.lock")))
        except OSError as error:
            raise WeightsError(
                "the folder for downloaded weights can't be written",
                where=str(target.parent),
                found=f"{type(error).__name__}: {error}",
                allowed="a folder that this user may write; TORCH_HOME says which",
            ) from error
        yield


def _fill(url: str, part: Path, progress: OnBytes | None, patience: Patience, *, can_resume: bool) -> None:
    failures, reason = 0, ""
    longest = part.stat().st_size if part.is_file() else 0
    while failures < patience.tries:
        if failures:
            time.sleep(patience.pause * 2 ** (failures - 1))
        before = part.stat().st_size if can_resume and part.is_file() else 0
        try:
            if _append(url, part, before, progress, patience.timeout):
                return
            reason = "the connection was cut"
        except _WrongRangeError as error:
            part.unlink(missing_ok=True)
            reason = str(error)
        except (TimeoutError, ConnectionError, http.client.HTTPException) as error:
            reason = f"{type(error).__name__}: {error}"
        except urllib.error.HTTPError as error:
            reason = f"HTTP {error.code} {error.reason}"
            if error.code == 416:  # the part is longer than the file: it is another file's
                part.unlink(missing_ok=True)
            elif error.code < 500 and error.code not in (408, 429):
                raise _refused(url, reason, part if can_resume else None) from error
        except ValueError as error:  # no address at all
            raise _refused(url, str(error)) from error
        except OSError as error:  # includes URLError: no route, no such host
            reason = str(getattr(error, "reason", error))
        # A server that starts over each time shortens the part, which the next try then lengthens again.
        size = part.stat().st_size if part.is_file() else 0
        failures = 1 if size > longest and can_resume else failures + 1
        longest = max(longest, size)
    raise _refused(url, reason, part if can_resume else None)


def _append(url: str, part: Path, offset: int, progress: OnBytes | None, timeout: float) -> bool:
    """Append what is missing; return whether all that the server announced has come."""
    with _open(url, offset, timeout) as (stream, start, total):
        done = start
        with part.open("ab" if start else "wb") as out:
            while chunk := stream.read(CHUNK):
                out.write(chunk)
                done += len(chunk)
                if progress is not None:
                    progress(done, total)
    return total is None or done >= total


@contextmanager
def _open(url: str, offset: int, timeout: float) -> Iterator[tuple[_Reader, int, int | None]]:
    """Open at `offset`: the stream, the offset that it really starts at, and the whole length if known."""
    if not url.startswith(("http://", "https://")):
        with _open_with_fsspec(url, offset) as opened:
            yield opened
        return
    from requests.utils import get_netrc_auth

    headers = {"User-Agent": "transferflow"} | ({"Range": f"bytes={offset}-"} if offset else {})
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - checked above
    if login := get_netrc_auth(url):
        encoded = base64.b64encode(":".join(login).encode()).decode()
        # Unredirected: a server that sends us on must not hand our password to another.
        request.add_unredirected_header("Authorization", f"Basic {encoded}")
    with urllib.request.urlopen(request, timeout=timeout) as reply:  # noqa: S310
        start = offset if reply.status == 206 else 0
        if reply.status == 206 and not reply.headers.get("Content-Range", "").startswith(f"bytes {offset}-"):
            raise _WrongRangeError(f"asked for the bytes from {offset} on, the server sent others")
        length = reply.headers.get("Content-Length")
        yield _Arriving(reply), start, start + int(length) if length and length.isdigit() else None


@contextmanager
def _open_with_fsspec(url: str, offset: int) -> Iterator[tuple[_Reader, int, int | None]]:
    import fsspec

    try:
        system, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise MissingDependencyError(
            f"no support for {url.partition('://')[0]}:// is installed",
            where=url,
            hint=str(error),
        ) from error
    except ValueError as error:
        raise _refused(url, str(error)) from error
    try:
        total = system.size(path)
        stream = system.open(path, "rb")
    except FileNotFoundError as error:
        raise _refused(url, "no such file") from error
    with stream:
        stream.seek(offset)
        yield stream, offset, total


def _refused(url: str, reason: str, part: Path | None = None) -> DownloadError:
    kept = part is not None and part.is_file() and part.stat().st_size > 0
    return DownloadError(
        "the weights could not be downloaded",
        where=url,
        found=reason,
        hint=f"check the address and the network; {LOGIN_HINT}"
        + ("; what has come is kept, and the next try goes on from there" if kept else ""),
    )


def _wrong_hash(url: str, wanted: str, found: str) -> WeightsError:
    return WeightsError(
        "the downloaded file is not the one that was asked for",
        where=url,
        found=f"sha256 {found[: max(len(wanted), 12)]}",
        allowed=f"sha256 {wanted}",
        hint="do not use it: the file was replaced or damaged on its way",
    )
