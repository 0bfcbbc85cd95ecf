"""One download: content that arrives in pieces and attempts, decoded, verified, and put in the place of the file.

It asks for gzip. The gateway encodes no large content, so what is worth resuming arrives as it is.
"""

import base64
import hashlib
import re
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import msgspec

from .files import ExportFile, Partial, Remembered, drop
from .transport import Fields, Head, Receive

MAXIMUM_PROBLEM_BYTES = 65536
"""Of the content of a refusal that is read."""
_DIGEST = re.compile(r"(?:^|,)\s*sha-256=:([A-Za-z0-9+/=]+):")
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")
_GZIP = 31
"""zlib: a gzip wrapper and the largest window."""


class Damaged(Exception):
    """What arrived is not what was sent; the message says so."""


class Download:
    """The attempts to get one export. `told` is called with the bytes of each piece, and of the whole once known.

    Nothing is opened before there is content. With `is_check` nothing but a temporary file is written.
    """

    def __init__(self, target: ExportFile, told: Callable[[int, int], None], *, is_check: bool) -> None:
        self._target = target
        self._told = told
        self._is_check = is_check
        self.remembered = target.remembered()
        self._file_digest = target.digest()
        self._file: IO[bytes] | None = None
        self._part: Path | None = None
        """Where the file is, None if it is a temporary one."""
        self._content: _Content | None = None
        self.problem = b""
        self.received_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Keep what can be resumed, by this run or the next one, and nothing else."""
        if self._file is None:
            return
        size = self._file.seek(0, 2)
        self._file.close()
        is_resumable = self._part == self._target.part and size and self._partial
        if self._part is not None and not is_resumable:
            drop(self._part)

    @property
    def is_known(self) -> bool:
        """Whether the file is the one whose validators are remembered."""
        return bool(self._file_digest) and self._file_digest == self.remembered.sha256

    def build_fields(self) -> Fields:
        """Return the fields of the next request: what is there, and what of it is complete. Raises OSError."""
        fields = [("Accept-Encoding", "gzip"), ("Want-Repr-Digest", "sha-256=1")]
        if self.is_known and self.remembered.etag:
            fields.append(("If-None-Match", self.remembered.etag))
        elif self.is_known and self.remembered.last_modified:
            fields.append(("If-Modified-Since", self.remembered.last_modified))
        partial = self._partial
        if partial and not self._is_check and (size := self._open().seek(0, 2)):
            fields.append(("Range", f"bytes={size}-"))
            fields += [("If-Range", partial.etag)] * partial.etag.startswith('"')
        return fields

    def accept_head(self, head: Head) -> Receive:
        """Return what takes the content of an answer. That of a refusal goes to `problem`. Raises OSError, Damaged."""
        self.problem = b""
        if head.status not in (200, 206):
            return self._read_problem
        self._content = content = _Content(self._open(), head, self._partial)
        if content.partial and not self._is_check and content.partial != self.remembered.partial:
            self.remembered = msgspec.structs.replace(self.remembered, partial=content.partial)
            self._target.remember(self.remembered)

        def receive(piece: bytes) -> None:
            self.received_bytes += len(piece)
            self._told(len(piece), content.length)
            content.write(piece)

        return receive

    def restart(self) -> None:
        """Forget what has arrived."""
        self._open().truncate(0)
        self._content = None
        self.remembered = msgspec.structs.replace(self.remembered, partial=None)

    def conclude(self, head: Head) -> bool:
        """Verify what has arrived, and replace the file if it differs; return whether it does.

        Raises Damaged, and OSError if the file cannot be written.
        """
        if self._content is None:
            raise Damaged("the answer has no content")
        digest = self._content.verify()
        if self._is_check:
            return digest != self._file_digest
        if digest != self._file_digest and self._part is not None:
            self._target.replace(self._open(), self._part)
            self._part = None
        state = Remembered(self.remembered.url, head.field("etag"), head.field("last-modified"), digest)
        if state != self.remembered:
            self._target.remember(state)
        self._content = None
        self.remembered = state
        return digest != self._file_digest

    @property
    def _partial(self) -> Partial | None:
        """What the next attempt can continue."""
        partial = self._content.partial if self._content else self.remembered.partial
        return partial if partial and partial.is_resumable else None

    def _open(self) -> IO[bytes]:
        if self._file is None:
            if self._is_check:
                self._file = tempfile.TemporaryFile("a+b")  # noqa: SIM115 - `__exit__` closes it
            else:
                self._file, self._part = self._target.open_part()
                if self.remembered.partial is None:
                    self._file.truncate(0)
        return self._file

    def _read_problem(self, piece: bytes) -> None:
        self.problem = (self.problem + piece)[:MAXIMUM_PROBLEM_BYTES]


class _Content:
    """The content of an answer, decoded into the file behind what is there of it."""

    def __init__(self, file: IO[bytes], head: Head, old: Partial | None) -> None:
        self._file = file
        coding = head.field("content-encoding").lower()
        if coding not in ("", "identity", "gzip", "x-gzip"):
            raise Damaged(f"the content is encoded as {coding}, which was not asked for")
        self._gzip = zlib.decompressobj(_GZIP) if "gzip" in coding else None
        found = _DIGEST.search(head.field("repr-digest"))
        self._wanted = found[1] if found else ""
        etag = head.field("etag")
        size = file.seek(0, 2)
        if head.status == 206:
            self._check_rest(head, old, etag, size)
            self._wanted = self._wanted or (old.digest if old else "")
        else:
            file.truncate(0)
            size = 0
        self._sent, self._decoded = hashlib.sha256(), hashlib.sha256()
        self._hash_beginning(size)
        length = head.field("content-length")
        self.length = int(length) if length.isdigit() else 0
        self.partial = None if self._gzip or not etag else Partial(etag, self._wanted)

    def write(self, piece: bytes) -> None:
        self._sent.update(piece)
        if self._gzip:
            try:
                piece = self._gzip.decompress(piece)
            except zlib.error as error:
                raise Damaged(f"the content is not gzip as it says: {error}") from error
        self._decoded.update(piece)
        self._file.write(piece)

    def verify(self) -> str:
        """Return the SHA-256 of the file. Raises Damaged if it is not what was sent."""
        self._file.flush()
        if self._gzip and not self._gzip.eof:
            raise Damaged("the gzip content ends before its end")
        if self._wanted and self._wanted != base64.b64encode(self._sent.digest()).decode():
            raise Damaged("the content does not match its Repr-Digest")
        return self._decoded.hexdigest()

    def _check_rest(self, head: Head, old: Partial | None, etag: str, size: int) -> None:
        place = _RANGE.fullmatch(head.field("content-range"))
        if old is None or place is None or int(place[1]) != size or self._gzip or etag not in ("", old.etag):
            raise Damaged("the rest of the content does not belong to its beginning")

    def _hash_beginning(self, size: int) -> None:
        if size:
            self._file.seek(0)
            while piece := self._file.read(1 << 20):
                self._sent.update(piece)
                self._decoded.update(piece)
