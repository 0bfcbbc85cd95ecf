"""The file of an export, and what is remembered of it: its validator, its digest, and how much of it is there.

Rule: the file is replaced as a whole, by one rename, after everything has arrived and was verified. Nothing else
touches it.
"""

import fcntl
import hashlib
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO

import msgspec

from .model import Export

STATE_SUFFIX, PART_SUFFIX = ".pull", ".part"


class Partial(msgspec.Struct, frozen=True, omit_defaults=True):
    """What has arrived of a download that broke off, and what tells whether the rest belongs to it."""

    etag: str
    digest: str = ""
    """Its Repr-Digest by SHA-256, in base64."""

    @property
    def is_resumable(self) -> bool:
        """Whether the rest can be asked for: a strong tag (RFC 9110 13.1.5) or a digest proves that it fits."""
        return bool(self.digest) or self.etag.startswith('"')


class Remembered(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the state file has. The validators are of the content with the digest `sha256`."""

    url: str
    etag: str = ""
    last_modified: str = ""
    sha256: str = ""
    partial: Partial | None = None


class ExportFile:
    """One file, its state and its partial download."""

    def __init__(self, export: Export, state_folder: Path | None) -> None:
        self._url = export.url
        self.path = Path(os.path.realpath(export.output))  # a link stays, and what it leads to is replaced
        name = export.output.name
        if state_folder is None:
            self.state = self.path.with_name(f"{self.path.name}{STATE_SUFFIX}")
        else:
            place = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:12]
            self.state = state_folder / f"{name}-{place}{STATE_SUFFIX}"
        self.part = self.path.with_name(f"{self.path.name}{PART_SUFFIX}")

    def digest(self) -> str:
        """Return the SHA-256 of the file, empty if there is none."""
        try:
            with self.path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            return ""

    def remembered(self) -> Remembered:
        """Return what is remembered of the URL. A state that cannot be read, or is of another URL, says nothing."""
        try:
            state = msgspec.json.decode(self.state.read_bytes(), type=Remembered)
        except (FileNotFoundError, msgspec.DecodeError):
            return Remembered(self._url)
        return state if state.url == self._url else Remembered(self._url)

    def remember(self, state: Remembered) -> None:
        """Write the state, as a whole. Raises OSError."""
        self.state.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self.state.parent, prefix=".pull-", delete=False) as file:
            try:
                file.write(msgspec.json.encode(state) + b"\n")
                file.flush()
                Path(file.name).chmod(0o644)
                Path(file.name).replace(self.state)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise

    def open_part(self) -> tuple[IO[bytes], Path]:
        """Open the file that the download is written to; it is the caller's alone. Raises OSError.

        If another run writes the same one, a new file is opened, which is not resumed.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = self.part.open("a+b")
        with suppress(BlockingIOError, FileNotFoundError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self._is_part(file):
                return file, self.part
        file.close()
        descriptor, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.", suffix=PART_SUFFIX)
        return os.fdopen(descriptor, "a+b"), Path(name)

    def _is_part(self, file: IO[bytes]) -> bool:
        """Whether the file still has that name: the run that had the lock may have put it in the export's place."""
        return os.path.samestat(os.fstat(file.fileno()), self.part.stat())

    def replace(self, file: IO[bytes], part: Path) -> None:
        """Put what was downloaded in the place of the file, with the permissions of the old one. Raises OSError."""
        file.flush()
        os.fsync(file.fileno())
        if self.path.exists():
            shutil.copymode(self.path, part)
        else:
            mask = os.umask(0)
            os.umask(mask)
            part.chmod(0o666 & ~mask)
        part.replace(self.path)


def drop(part: Path) -> None:
    """Remove what was downloaded, if it is there."""
    with suppress(FileNotFoundError):
        part.unlink()
