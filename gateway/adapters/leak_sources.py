"""Where leaked tokens may be: files, archives in them, standard input, and all objects of a git repository.

Each source yields contents in windows that overlap, so that nothing is ever read as a whole that may be large.
"""

import bz2
import codecs
import gzip
import io
import lzma
import os
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, cast

import msgspec

from gateway.core.errors import ConfigurationError
from gateway.core.leaks.finding import UTF_16_MARKS

WINDOW = 16 << 20
"""Bytes of a content that are looked at together."""
MAXIMUM_DEPTH = 4
"""Of archives in archives."""
MAXIMUM_INFLATED = 8 << 30
"""Bytes that come out of one file with archives: a bomb has more."""
_COMPRESSED: dict[bytes, Callable[[IO[bytes]], IO[bytes]]] = {
    b"\x1f\x8b": lambda file: cast(IO[bytes], gzip.GzipFile(fileobj=file)),
    b"BZh": lambda file: cast(IO[bytes], bz2.BZ2File(file)),
    b"\xfd7zXZ\0": lambda file: cast(IO[bytes], lzma.LZMAFile(file)),  # noqa: SIM115 - the caller closes it
}
_BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile, RuntimeError)
"""What reading a damaged or an encrypted archive raises."""


class Window(msgspec.Struct, frozen=True, gc=False):
    """A part of a content. `place` says which content, `line` on which of its lines the part begins."""

    place: str
    content: bytes
    line: int = 1


Tell = Callable[[str], None]


class Reader:
    """Reads sources. `overlap` is that of windows; `told` hears of what cannot be read, `read` of bytes that were."""

    def __init__(self, overlap: int, told: Tell, read: Callable[[int], None]) -> None:
        self._overlap = overlap
        self._told = told
        self._read = read
        self._inflated = 0

    def read_files(self, files: list[Path]) -> Iterator[Window]:
        """Yield what is in files, and in archives among them."""
        for path in files:
            self._inflated = 0
            try:
                with path.open("rb") as file:
                    yield from self._read_content(str(path), file, 0)
            except OSError as error:
                self._told(f"{path}: not read: {error.strerror or error}")

    def read_stream(self, place: str, file: IO[bytes]) -> Iterator[Window]:
        """Yield what a stream has that cannot be read twice."""
        yield from self._cut(place, file, 0)

    def read_repository(self, folder: Path) -> Iterator[Window]:
        """Yield each object of a repository, also those in packs and those that nothing leads to any more.

        The place is the object's name. Raise ConfigurationError if there is no repository.
        """
        words = ("cat-file", "--batch-all-objects", "--unordered", "--buffer", "--batch")
        with open_git(folder, *words) as process:
            output = cast(IO[bytes], process.stdout)
            while header := output.readline():
                name, kind, size = header.decode("ascii").split()
                self._inflated = 0
                limited = _Limited(output, int(size))
                if kind == "blob" and int(size) <= WINDOW:
                    yield from self._read_content(name, io.BytesIO(limited.read()), 0)
                else:
                    yield from self._cut(name, cast(IO[bytes], limited), 0)
                limited.skip()
                output.read(1)

    def _read_content(self, place: str, file: IO[bytes], depth: int) -> Iterator[Window]:
        """Yield a content, or what is in it if it is an archive. The file can be read from its beginning again."""
        beginning = file.read(512)
        file.seek(0)
        if depth < MAXIMUM_DEPTH and (read := self._find_archive(beginning)):
            try:
                yield from read(place, file, depth)
                if depth == 0:
                    self._read(file.seek(0, 2))
            except _BROKEN as error:
                self._told(f"{place}: not read to its end: {str(error) or type(error).__name__}")
            return
        yield from self._cut(place, file, depth)

    def _find_archive(self, beginning: bytes) -> "Callable[[str, IO[bytes], int], Iterator[Window]] | None":
        if beginning.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            return self._read_zip
        if beginning[257:262] == b"ustar":
            return self._read_tar
        return self._read_compressed if beginning.startswith(tuple(_COMPRESSED)) else None

    def _read_zip(self, place: str, file: IO[bytes], depth: int) -> Iterator[Window]:
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                if not member.is_dir():
                    try:
                        with archive.open(member) as content:
                            yield from self._read_member(f"{place}!{member.filename}", content, depth)
                    except _BROKEN as error:
                        self._told(f"{place}!{member.filename}: not read to its end: {error}")

    def _read_tar(self, place: str, file: IO[bytes], depth: int) -> Iterator[Window]:
        with tarfile.open(fileobj=file, mode="r|") as archive:
            for member in archive:
                if content := archive.extractfile(member) if member.isfile() else None:
                    yield from self._read_member(f"{place}!{member.name}", content, depth)

    def _read_compressed(self, place: str, file: IO[bytes], depth: int) -> Iterator[Window]:
        magic = file.read(6)
        file.seek(0)
        opened = next(opens for start, opens in _COMPRESSED.items() if magic.startswith(start))(file)
        with opened as content:
            beginning = content.read(512)
            content.seek(0)
            if beginning[257:262] == b"ustar":
                yield from self._read_tar(place, content, depth)
            else:
                yield from self._read_member(place, content, depth)

    def _read_member(self, place: str, content: IO[bytes], depth: int) -> Iterator[Window]:
        beginning = content.read(WINDOW)
        if len(beginning) < WINDOW:
            yield from self._read_content(place, io.BytesIO(beginning), depth + 1)
        else:
            yield from self._cut(place, content, depth + 1, beginning)

    def _cut(self, place: str, file: IO[bytes], depth: int, beginning: bytes = b"") -> Iterator[Window]:
        """Yield a content in windows, as UTF-8. What comes out of archives counts against a bound."""
        rest, line = b"", 1
        piece = beginning or file.read(WINDOW)
        encoding = UTF_16_MARKS.get(piece[:2])
        decoder = codecs.getincrementaldecoder(encoding)("replace") if encoding else None
        while piece:
            if depth:
                self._inflated += len(piece)
                if self._inflated > MAXIMUM_INFLATED:
                    self._told(f"{place}: not read to its end: more than {MAXIMUM_INFLATED >> 30} GiB come out of it")
                    return
            else:
                self._read(len(piece))
            content = rest + (decoder.decode(piece).encode() if decoder else piece)
            yield Window(place, content, line)
            rest = content[-self._overlap :]
            line += content.count(b"\n", 0, len(content) - len(rest))
            piece = file.read(WINDOW)


class _Limited:
    """The next bytes of a stream, as a file that ends behind them."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._left = size

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` of the bytes that are left, by default all."""
        piece = self._file.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(piece)
        return piece

    def skip(self) -> None:
        """Read what is left, for nothing."""
        while self._left and self.read(WINDOW):
            pass


def list_files(place: Path) -> list[Path]:
    """Return the regular files below a folder, or the one file; no link is followed, and .git is left out."""
    if not place.is_dir():
        return [place]
    found = []
    for folder, folders, files in os.walk(place):
        folders[:] = sorted(name for name in folders if name != ".git")
        paths = [Path(folder, name) for name in sorted(files)]
        found += [path for path in paths if path.is_file() and not path.is_symlink()]
    return found


def measure_files(files: list[Path]) -> int:
    """Return the bytes of files; one that is gone has none."""
    total = 0
    for path in files:
        with suppress(OSError):
            total += path.stat().st_size
    return total


def measure_repository(folder: Path) -> int:
    """Return the bytes of all objects of a repository. Raise ConfigurationError if there is none."""
    form = "--batch-check=%(objectsize)"
    sizes = run_git(folder, "cat-file", "--batch-all-objects", "--unordered", "--buffer", form)
    return sum(map(int, sizes.split()))


def find_commits(folder: Path, names: Collection[str]) -> dict[str, str]:
    """Return for each object of a repository where it is, for people.

    Of a blob this is the first commit that has it, and its path there: `COMMIT:PATH`.
    """
    found: dict[str, str] = {}
    form = ("--reverse", "--raw", "--no-abbrev", "--no-renames", "-m", "--pretty=format:%h", "--no-ext-diff")
    commit = ""
    with open_git(folder, "log", "--all", *form) as process:
        for line in cast(IO[bytes], process.stdout):
            change, _, path = line.decode("utf-8", "replace").rstrip("\n").partition("\t")
            if not change.startswith(":"):
                commit = change[:12] or commit
            elif (name := change.split()[3]) in names:
                found.setdefault(name, f"{commit}:{path}")
    return {name: found.get(name) or f"{run_git(folder, 'cat-file', '-t', name).strip()} {name}" for name in names}


def run_git(folder: Path, *words: str) -> str:
    """Return what git printed. Raise ConfigurationError if it fails, or is not there."""
    with open_git(folder, *words) as process:
        return cast(IO[bytes], process.stdout).read().decode(errors="replace")


@contextmanager
def open_git(folder: Path, *words: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Yield a running git, whose output is read to its end. Raise ConfigurationError if it fails, or is not there."""
    git = shutil.which("git")
    if git is None:
        raise ConfigurationError("git is not installed; `--git` needs it")
    with tempfile.TemporaryFile() as errors:
        command = [git, "-C", str(folder), *words]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors) as process:  # noqa: S603 - no shell
            yield process
        if process.returncode:
            errors.seek(0)
            message = errors.read().decode(errors="replace").strip()
            raise ConfigurationError(f"{folder}: git cannot read it: {message}")
