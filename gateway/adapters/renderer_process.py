"""A process that renders: jobs come on its standard input, outcomes go to its standard output.

    job     = head form-and-variant document        ; head: the lengths of both, 8 bytes each, big-endian
    outcome = head result content                   ; form-and-variant and result are MessagePack

It knows only its jobs, runs at a lower priority than the workers, and has a limit of memory.
"""

import contextlib
import gc
import os
import resource
import struct
import sys
from typing import BinaryIO, TypeAlias

import msgspec

from gateway.core.errors import BrokenDocument
from gateway.core.variants.model import DocumentForm, InvalidOptions, Rendered, Variant
from gateway.core.variants.rendering import render

MEMORY_BYTES = 2 * 1024**3
"""Address space. The largest document takes about half of it, whatever its content."""
NICENESS = 10

_HEAD = struct.Struct(">QQ")


class Done(msgspec.Struct, frozen=True, tag="done"):
    """The variant is rendered; its content follows."""

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
    _write_frame(stream, _encode(job), document)


def read_outcome(stream: BinaryIO) -> tuple[Outcome, bytes]:
    """Return the outcome of the job that was sent last. Raise EOFError if the process has ended."""
    outcome, content = _read_frame(stream)
    return _read_outcome(outcome), content


def work(jobs: BinaryIO, outcomes: BinaryIO) -> None:
    """Render until there are no more jobs.

    Nothing in a document refers to itself, so the cycle collector would look at all of it again and again for nothing:
    that took a quarter of the time. It runs between jobs.
    """
    gc.disable()
    with contextlib.suppress(EOFError):
        while True:
            job, document = _read_frame(jobs)
            form, variant = _read_job(job)
            _write_frame(outcomes, *_try(document, form, variant))
            del document
            gc.collect()


def _try(document: bytes, form: DocumentForm, variant: Variant) -> tuple[bytes, bytes]:
    try:
        found = render(document, form, variant)
    except BrokenDocument as broken:
        return _encode(Broken(broken.place, broken.problem)), b""
    except MemoryError:
        return _encode(Broken("$", "rendering it takes more memory than a document may")), b""
    if isinstance(found, Rendered):
        return _encode(Done(found.tag)), found.content
    return _encode(found), b""


def _write_frame(stream: BinaryIO, first: bytes, second: bytes) -> None:
    stream.write(_HEAD.pack(len(first), len(second)))
    stream.write(first)
    stream.write(second)
    stream.flush()


def _read_frame(stream: BinaryIO) -> tuple[bytes, bytes]:
    first, second = _HEAD.unpack(_read_exactly(stream, _HEAD.size))
    return _read_exactly(stream, first), _read_exactly(stream, second)


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
