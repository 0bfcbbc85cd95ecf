"""A process that renders: jobs come on its standard input, outcomes go to its standard output.

    job     = frame frame                   ; form and variant, then the document
    outcome = *piece end frame              ; the content as it is made, then what has become of the job
    piece   = frame                         ; which is not empty
    end     = frame                         ; which is empty
    frame   = length *OCTET                 ; 8 bytes, big-endian; all but document and content is MessagePack

It knows only its jobs, runs at a lower priority than the workers, and has a limit of memory.
"""

import contextlib
import gc
import io
import os
import resource
import struct
import sys
from typing import BinaryIO, TypeAlias

import msgspec

from gateway.core.errors import BrokenDocument
from gateway.core.http.etags import WeakTag
from gateway.core.variants.model import DocumentForm, InvalidOptions, Variant
from gateway.core.variants.rendering import render_pieces

MEMORY_BYTES = 2 * 1024**3
"""Address space. The largest document takes about half of it, whatever its content."""
NICENESS = 10

_LENGTH = struct.Struct(">Q")


class Done(msgspec.Struct, frozen=True, tag="done"):
    """The variant is rendered: the pieces before are its content."""

    tag: bytes


class Broken(msgspec.Struct, frozen=True, tag="broken"):
    """The document is broken."""

    place: str
    problem: str


Outcome: TypeAlias = Done | InvalidOptions | Broken
Job: TypeAlias = tuple[DocumentForm, Variant]

_encode = msgspec.msgpack.Encoder().encode
_read_job = msgspec.msgpack.Decoder(Job).decode
_read_outcome = msgspec.msgpack.Decoder(Outcome).decode


def write_job(stream: BinaryIO, job: Job, document: bytes) -> None:
    """Send a job."""
    _write_frame(stream, _encode(job))
    _write_frame(stream, document)
    stream.flush()


def read_outcome(stream: BinaryIO) -> tuple[Outcome, bytes]:
    """Return the outcome of the job that was sent last, and the content if it is done.

    Raise EOFError if the process has ended.
    """
    content = io.BytesIO()  # which grows in its place, and gives its bytes away without a copy
    while piece := _read_frame(stream):
        content.write(piece)
    return _read_outcome(_read_frame(stream)), content.getvalue()


def work(jobs: BinaryIO, outcomes: BinaryIO) -> None:
    """Render until there are no more jobs.

    Nothing in a document refers to itself, so the cycle collector would look at all of it again and again for nothing:
    that took a quarter of the time. It runs between jobs.
    """
    gc.disable()
    with contextlib.suppress(EOFError):
        while True:
            form, variant = _read_job(_read_frame(jobs))
            outcome = _try(_read_frame(jobs), form, variant, outcomes)
            _write_frame(outcomes, b"")
            _write_frame(outcomes, _encode(outcome))
            outcomes.flush()
            gc.collect()


def _try(document: bytes, form: DocumentForm, variant: Variant, outcomes: BinaryIO) -> Outcome:
    """Write the pieces of the content, and return the outcome."""
    tag = WeakTag()
    try:
        pieces = render_pieces(document, form, variant)
        if isinstance(pieces, InvalidOptions):
            return pieces
        for piece in filter(None, pieces):
            tag.update(piece)
            _write_frame(outcomes, piece)
    except BrokenDocument as broken:
        return Broken(broken.place, broken.problem)
    except MemoryError:
        return Broken("$", "rendering it takes more memory than a document may")
    return Done(tag.build())


def _write_frame(stream: BinaryIO, content: bytes) -> None:
    stream.write(_LENGTH.pack(len(content)))
    stream.write(content)


def _read_frame(stream: BinaryIO) -> bytes:
    (length,) = _LENGTH.unpack(_read_exactly(stream, _LENGTH.size))
    return _read_exactly(stream, length)


def _read_exactly(stream: BinaryIO, count: int) -> bytes:
    read = stream.read(count)
    if len(read) < count:
        raise EOFError
    return read


if __name__ == "__main__":
    with contextlib.suppress(OSError, ValueError):  # a platform without this limit has the time limit all the same
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    os.nice(NICENESS)
    work(sys.stdin.buffer, sys.stdout.buffer)
