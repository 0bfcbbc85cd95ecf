"""The exports of a run: attempts of each until there is an outcome, several side by side."""

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import msgspec

from .download import Damaged, Download
from .explanation import NOBODY, Identity, clean, explain
from .files import ExportFile
from .model import Export, Outcome, Result
from .pace import Clock, Pace, Permit, TooLate, choose_delay, parse_retry_after
from .transport import Broken, Head, Receive, Transport

RETRIED = frozenset({408, 429, 500, 502, 503, 504})
"""Statuses that another attempt may not meet."""
MAXIMUM_DAMAGED = 3
"""Attempts whose content is not what was sent."""
WHOAMI = "/-/whoami"
"""Where a gateway tells a token what it is; if it is elsewhere, sentences say less."""
MAXIMUM_IDENTITY_BYTES = 65536
IDENTITY_SECONDS = 10


class Progress:
    """Is told what happens. This one shows nothing."""

    def received(self, export: Export, count: int, length: int) -> None:
        """Count bytes of content; `length` is that of all of it, 0 if nobody knows."""

    def waits(self, export: Export, seconds: float, reason: str) -> None:
        """Tell that the next attempt is so many seconds away."""

    def ended(self, outcome: Outcome) -> None:
        """Tell what came of an export."""


class Run(msgspec.Struct, frozen=True):
    """What all exports of a run share."""

    transport: Transport
    clock: Clock
    tokens: Mapping[tuple[str, str], str]
    """By `Export.holder`."""
    progress: Progress
    deadline: float
    """Of the monotonic clock."""
    stop: Callable[[], None]
    """End what is in flight."""
    state_folder: Path | None = None
    is_check: bool = False
    parallel: int = 4


def pull_all(run: Run, exports: Sequence[Export]) -> list[Outcome]:
    """Pull the exports, several side by side, and return what came of each, in their order."""
    paces = {export.holder: Pace(run.clock) for export in exports}
    waiting = list(enumerate(exports))[::-1]
    outcomes: dict[int, Outcome] = {}
    errors: list[BaseException] = []
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                if not waiting or errors:
                    return
                number, export = waiting.pop()
            try:
                outcome = pull(run, export, paces[export.holder])
            except BaseException as error:
                errors.append(error)
                return
            with lock:
                outcomes[number] = outcome
                run.progress.ended(outcome)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(run.parallel, len(exports)))]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except BaseException:  # Ctrl+C: each thread removes what cannot be resumed
        waiting.clear()
        run.stop()
        for thread in threads:
            thread.join()
        raise
    if errors:
        raise errors[0]
    return [outcomes[number] for number in range(len(exports))]


def pull(run: Run, export: Export, pace: Pace) -> Outcome:
    """Pull one export, and return what came of it. Whatever goes wrong leaves the file as it was."""
    target = ExportFile(export, run.state_folder)
    attempts = _Attempts(run, export, pace)
    try:
        with Download(target, partial(run.progress.received, export), is_check=run.is_check) as download:
            return attempts.attempt(download)
    except OSError as error:
        where = error.filename or target.path
        message = f"cannot write {where}: {error.strerror}; the export is unchanged. Check the folder and its disk."
        return attempts.outcome(Result.UNWRITABLE, message=message)


class _Attempt(msgspec.Struct, frozen=True):
    """What came of one request, and whether to send another one."""

    outcome: Outcome
    is_final: bool = True
    retry_after: float | None = None


class _Attempts:
    """The requests for one export."""

    def __init__(self, run: Run, export: Export, pace: Pace) -> None:
        self._run = run
        self._export = export
        self._pace = pace
        self._requests = 0
        self._damaged = 0
        self._head = Head(0, ())
        self._download: Download | None = None

    def attempt(self, download: Download) -> Outcome:
        """Send requests until there is an outcome, or no time for another one."""
        self._download = download
        attempt: _Attempt | None = None
        while True:
            permit = self._pace.admit(self._run.deadline)
            if isinstance(permit, TooLate):
                late = self.outcome(Result.LIMITED, f"{permit.reason}. Run the job again later.")
                return self._conclude(download, attempt) if attempt else late
            attempt = self._send(download, permit)
            if attempt.is_final:
                return attempt.outcome
            delay = choose_delay(attempt.retry_after, self._requests, self._run.clock.chance())
            if self._run.clock.monotonic() + delay > self._run.deadline:
                return self._conclude(download, attempt)
            self._run.progress.waits(self._export, delay, attempt.outcome.message)
            if self._run.clock.wait(delay):
                return attempt.outcome

    def outcome(self, result: Result, message: str = "") -> Outcome:
        """Return an outcome with what is known so far."""
        return Outcome(
            url=self._export.url,
            file=str(self._export.output),
            result=result,
            status=self._head.status,
            received_bytes=self._download.received_bytes if self._download else 0,
            requests=self._requests,
            message=message,
            token_expires_at="" if self._export.is_exchanged else self._head.field("x-token-expires-at"),
        )

    def _send(self, download: Download, permit: Permit) -> _Attempt:
        """Send one request, and read the answer. Raises OSError if the file cannot be written."""
        self._requests += 1
        self._head = Head(0, ())
        hold = 0.0
        try:
            fields = [self._credential(), *download.build_fields()]
            seconds = self._run.deadline - self._run.clock.monotonic()
            answer = self._run.transport.get(self._export.url, fields, download.accept_head, seconds)
            if isinstance(answer, Broken):
                message = f"{self._export.origin} cannot be reached: {clean(answer.message)}."
                return _Attempt(self.outcome(Result.UNREACHABLE, message), answer.is_final)
            self._head = answer
            if answer.status not in RETRIED:
                return self._read(download, answer)
            retry_after = parse_retry_after(answer, self._run.clock.unix())
            hold = retry_after or 0.0
            return _Attempt(self._refuse(download, NOBODY), False, retry_after)
        except Damaged as error:
            download.restart()
            self._damaged += 1
            message = f"{error}; nothing of it is kept. Run the job again, and report it to the gateway's operator."
            return _Attempt(self.outcome(Result.DAMAGED, message), self._damaged == MAXIMUM_DAMAGED)
        finally:
            self._pace.end(permit, self._head if self._head.status else None, hold)

    def _read(self, download: Download, answer: Head) -> _Attempt:
        """Return what an answer comes to that no other request would change. Raises Damaged and OSError."""
        match answer.status:
            case 304 if download.is_known:
                return _Attempt(self.outcome(Result.UNCHANGED))
            case 200 | 206:
                is_changed = download.conclude(answer)
                return _Attempt(self.outcome(Result.CHANGED if is_changed else Result.UNCHANGED))
            case 416:
                download.restart()  # what is there is no beginning of what there is now
                return _Attempt(self.outcome(Result.DAMAGED, "the rest of the export is not there"), False)
            case status:
                return _Attempt(self._refuse(download, self._ask_identity() if status == 403 else NOBODY))

    def _conclude(self, download: Download, attempt: _Attempt) -> Outcome:
        """Return the outcome of the last attempt there is time for; of a limit, with what whoami tells of it."""
        return self._refuse(download, self._ask_identity()) if self._head.status == 429 else attempt.outcome

    def _refuse(self, download: Download, identity: Identity) -> Outcome:
        status = self._head.status
        result = Result.LIMITED if status == 429 else Result.UNREACHABLE if status >= 500 else Result.REFUSED
        return self.outcome(result, explain(self._export, self._head, download.problem, identity))

    def _credential(self) -> tuple[str, str]:
        return self._export.build_credential(self._run.tokens[self._export.holder])

    def _ask_identity(self) -> Identity:
        """Return what whoami says of the token; nobody if it says nothing."""
        content = bytearray()

        def begin(_: Head) -> Receive:
            return lambda piece: content.extend(piece[: MAXIMUM_IDENTITY_BYTES - len(content)])

        url = f"{self._export.origin}{WHOAMI}"
        answer = self._run.transport.get(url, [self._credential()], begin, IDENTITY_SECONDS)
        try:
            is_told = isinstance(answer, Head) and answer.status == 200
            return msgspec.json.decode(content, type=Identity) if is_told else NOBODY
        except msgspec.DecodeError:
            return NOBODY
