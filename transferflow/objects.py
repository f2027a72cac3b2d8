"""Folders of object stores, through fsspec: how one is opened, and what its client raises in our words."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from transferflow.errors import MissingDependencyError, TransferflowError
from transferflow.text import one_line, without_secrets

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

LOGIN_HINT = (
    "a login goes where fsspec looks for it: AWS_PROFILE, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or "
    "~/.aws for s3 (AWS_ENDPOINT_URL for a server of your own), ~/.config/fsspec for any"
)
SCHEMES = ("s3", "gs", "gcs", "az", "abfs", "abfss", "memory")
"""Stores whose folders can be listed; http(s) is not among them, as nobody can say what lies below a page."""
_OF_THIS_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)
_PATIENCE = {"connect_timeout": 10, "read_timeout": 60, "retries": {"max_attempts": 2, "mode": "standard"}}
"""Of botocore, which s3fs asks again on its own: by defaults a dead server is waited for for minutes."""


@dataclass(frozen=True)
class ObjectFolder:
    """A folder of an object store, and how errors speak of it.

    Attributes:
        address: Its address, without a slash at the end.
        what: What it is in a sentence, "the data folder".
        where: What names it: a key of the spec, or a variable.
        fault: The error to raise for what its client raises.
        otherwise: What else can be done about it.
    """

    address: str
    what: str
    where: str
    fault: type[TransferflowError]
    otherwise: str = ""

    def open(self) -> tuple[AbstractFileSystem, str]:
        """The file system, and the folder's path in it; nothing is asked of the server yet.

        Raises:
            MissingDependencyError: If the package for its kind of address is not installed.
        """
        import fsspec  # 0.1 s, which data on a disk can do without

        scheme = self.address.partition("://")[0]
        options = {"config_kwargs": _PATIENCE} if scheme == "s3" else {}
        try:
            # A listing that a former call left would hide what has changed since.
            system, path = fsspec.core.url_to_fs(self.address, use_listings_cache=False, **options)
        except ImportError as error:
            extra = "pip install 'transferflow[s3]'" if scheme == "s3" else one_line(str(error))
            raise MissingDependencyError(
                f"no support for {scheme}:// is installed", where=self.where, hint=extra
            ) from error
        return system, str(path).rstrip("/")

    @contextmanager
    def in_our_words(self, *own: type[Exception]) -> Iterator[None]:
        """Turn whatever clients of object stores raise into a `fault`; a full disk stays what it is.

        Args:
            own: What the block itself raises, and is let through.
        """
        try:
            yield
        except own:
            raise
        except TransferflowError:
            raise
        except FileNotFoundError as error:
            raise self.error(f"{self.what} does not exist", error) from error
        except PermissionError as error:
            raise self.error(f"{self.what} may not be used with this login", error) from error
        except OSError as error:
            if error.errno in _OF_THIS_DISK:
                raise
            raise self.error(f"{self.what} can't be reached", error) from error
        except Exception as error:
            missing = "Credentials" in type(error).__name__
            what = f"no login for {self.what} was found" if missing else f"{self.what} can't be reached"
            raise self.error(what, error) from error

    def error(self, what: str, error: Exception | None = None) -> TransferflowError:
        """A `fault` that names the folder."""
        reason = "" if error is None else f": {one_line(without_secrets(str(error))) or type(error).__name__}"
        advice = ("check the address, the network and the login", LOGIN_HINT, self.otherwise)
        return self.fault(
            what,
            where=self.where,
            found=f"{self.address}{reason}",
            hint="; ".join(each for each in advice if each),
        )
