"""`gateway pull` against real gateways, with a real file system: what is written, what is not, and what is said."""

import base64
import gzip
import hashlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gateway.cli.main import commands
from gateway.pull import model
from gateway.pull.model import Export, Outcome
from gateway.pull.pace import Clock
from gateway.pull.pulling import Progress, Run, pull_all
from gateway.pull.transport import Transport
from tests.support.certificates import issue, openssl
from tests.support.client import ask
from tests.support.processes import GatewayServer, Process, free_port, is_listening, wait_until
from tests.support.programs import find_program
from tests.support.raw import RawBackend, read_head
from tests.support.shared_gateway import SharedGateway
from tests.system.conftest import Share, mint

PATH = "/api/v1/projects/website/translations/export"
POLICY = """
name = "system"
upstream = "http://127.0.0.1:{backend}"
[token]
prefixes = ["sys_"]
[scopes]
read = "Read"
write = "Write"
{quotas}
[[rules]]
match = "GET /secret"
scopes = ["write"]
[[rules]]
match = "GET /cached/{{name}}"
cache = {{ fresh = "1h" }}
[[rules]]
match = "* /**"
"""
Behave = Callable[[socket.socket], None]
Serving = Callable[..., SharedGateway]


@pytest.fixture
def build(tmp_path: Path) -> Path:
    """The folder of a build."""
    folder = tmp_path / "build"
    folder.mkdir()
    return folder


@contextmanager
def backend(policies: Path, behave: Behave, quotas: str = ""):  # type: ignore[no-untyped-def]
    with RawBackend(behave) as running:
        (policies / "system.toml").write_text(POLICY.format(backend=running.port, quotas=quotas))
        yield running


def reply(content: bytes, *fields: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", "Connection: close", f"Content-Length: {len(content)}", *fields]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


def always(answer: bytes) -> Behave:
    def behave(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(answer)

    return behave


def in_turn(heads: list[bytes], *answers: bytes) -> Behave:
    """Answer one request after the other, the last answer for all others. An answer that is cut ends its connection."""

    def behave(connection: socket.socket) -> None:
        heads.append(read_head(connection))
        connection.sendall(answers[min(len(heads), len(answers)) - 1])

    return behave


def pull(token: str, *arguments: str | Path, **environment: str) -> Result:
    """Run the command in this process."""
    command = ["pull", *map(str, arguments)]
    unset = dict.fromkeys(("GITHUB_ACTIONS", "GITLAB_CI", "http_proxy", "https_proxy", "SSL_CERT_FILE"))
    return CliRunner().invoke(commands, command, env={**unset, "GATEWAY_TOKEN": token, **environment})


def url(gateway: GatewayServer, path: str = PATH) -> str:
    return f"http://127.0.0.1:{gateway.port}{path}"


def snapshot(folder: Path) -> dict[str, tuple[bytes, int, int]]:
    """Return the content of all files, and what tells that they were written."""
    return {
        file.name: (file.read_bytes(), file.stat().st_mtime_ns, file.stat().st_ino)
        for file in sorted(folder.iterdir())
        if file.is_file()
    }


def statuses(gateway: GatewayServer, token: Mapping[str, str], expected: list[int]) -> None:
    wait_until(lambda: len(gateway.records_of(token["id"])) >= len(expected), "all requests are in the access log")
    assert expected == [record["status"] for record in gateway.records_of(token["id"])]


def test_what_has_not_changed_is_neither_downloaded_nor_written(
    share: Share, redis_url: str, policies: Path, build: Path
) -> None:
    """200, then 304 and a file that nobody has touched; what it remembers is beside it."""
    gateway, token = share(), mint(redis_url, policies)
    first = pull(token["token"], url(gateway), "-o", build / "export.json")
    assert (0, "") == (first.exit_code, first.stderr)
    assert f"{build}/export.json: changed (200, " in first.stdout
    assert ask(gateway.port, "GET", PATH, token=token["token"]).content == (build / "export.json").read_bytes()
    before = snapshot(build)
    assert ["export.json", "export.json.pull"] == list(before)
    second = pull(token["token"], url(gateway), "-o", build / "export.json")
    assert f"{build}/export.json: unchanged (304, 0 bytes received)\n" == second.stdout
    assert before == snapshot(build)
    statuses(gateway, token, [200, 200, 304])


def test_a_state_folder_remembers_for_all_files(share: Share, redis_url: str, policies: Path, build: Path) -> None:
    """For files of the same name in different folders, each its own."""
    gateway, token = share(), mint(redis_url, policies)
    files = [build / "a" / "export.json", build / "b" / "export.json"]
    arguments = [word for file in files for word in (url(gateway), "-o", file)]
    for word in ("changed", "unchanged"):
        result = pull(token["token"], *arguments, "--state", build / "state")
        assert 2 == result.stdout.count(f": {word} (")
    assert 2 == len(list((build / "state").iterdir()))
    assert all(["export.json"] == [file.name for file in folder.iterdir()] for folder in (build / "a", build / "b"))


@pytest.mark.parametrize("damage", ["edited", "removed", "state lost", "state broken", "other url"])
def test_a_validator_counts_only_for_the_file_that_it_came_with(
    share: Share, redis_url: str, policies: Path, build: Path, damage: str
) -> None:
    """A file that somebody has edited would stay as it is for ever; it is pulled again."""
    gateway, token = share(), mint(redis_url, policies)
    file, state = build / "export.json", build / "export.json.pull"
    pull(token["token"], url(gateway), "-o", file)
    content = file.read_bytes()
    match damage:
        case "edited":
            file.write_bytes(content + b" ")
        case "removed":
            file.unlink()
        case "state lost":
            state.unlink()
        case "state broken":
            state.write_bytes(b"{")
        case "other url":
            pull(token["token"], url(gateway) + "?lang=de", "-o", file)
    result = pull(token["token"], url(gateway), "-o", file, "--json")
    assert 200 == json.loads(result.stdout)["exports"][0]["status"]
    assert content == file.read_bytes()
    assert 304 == json.loads(pull(token["token"], url(gateway), "-o", file, "--json").stdout)["exports"][0]["status"]


CONTENT = b"content " * 1000
SHA256 = base64.b64encode(hashlib.sha256(CONTENT).digest()).decode()
FAILURES = {
    "unknown token": (reply(CONTENT), 3, "401: the gateway does not accept the token of GATEWAY_TOKEN"),
    "no such export": (reply(b"", status="404 Not Found"), 3, "404: there is no such export"),
    "redirect": (reply(b"", "Location: http://127.0.0.1:9/", status="302 Found"), 3, "302: the server redirects"),
    "error of the backend": (reply(b"oops", status="500 Oops"), 4, "500: the gateway or its backend is in trouble"),
    "wrong digest": (reply(CONTENT, f"Repr-Digest: sha-256=:{'A' * 43}=:"), 6, "does not match its Repr-Digest"),
    "cut gzip": (
        reply(gzip.compress(CONTENT)[:-9], "Content-Encoding: gzip", "Cache-Control: no-transform"),
        6,
        "gzip",
    ),
    "no gzip": (reply(CONTENT, "Content-Encoding: gzip", "Cache-Control: no-transform"), 6, "is not gzip as it says"),
    "strange coding": (reply(CONTENT, "Content-Encoding: x-zip"), 6, "encoded as x-zip"),
    "broken off": (reply(CONTENT)[:-1], 4, "cannot be reached"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_a_failure_leaves_the_file_as_it_was(
    share: Share, redis_url: str, policies: Path, build: Path, case: str
) -> None:
    """Whatever goes wrong, and whoever pulled before; and no other file is left."""
    answer, code, message = FAILURES[case]
    token = mint(redis_url, policies)
    with backend(policies, always(reply(b"before", 'ETag: "1"'))):
        assert 0 == pull(token["token"], url(share(), "/export"), "-o", build / "e").exit_code
    before = snapshot(build)
    with backend(policies, always(answer)):
        text = "sys_" + "0" * 40 if case == "unknown token" else token["token"]
        result = pull(text, url(share(), "/export"), "-o", build / "e", "--total-time", "1s")
    assert (code, "") == (result.exit_code, result.stdout)
    assert message in result.stderr
    assert token["token"] not in result.output
    kept = snapshot(build)
    assert (before["e"], ["e", "e.pull"]) == (kept["e"], list(kept))


def test_a_disk_that_cannot_be_written_is_named(share: Share, redis_url: str, policies: Path, build: Path) -> None:
    """With the file's place; nothing else is lost."""
    token = mint(redis_url, policies)
    (build / "no-folder").write_text("a file")
    result = pull(token["token"], url(share()), "-o", build / "no-folder" / "e")
    assert 7 == result.exit_code
    assert f"cannot write {build}/no-folder" in result.stderr
    full = pull(token["token"], url(share()), "-o", "/dev/full/e")
    assert 7 == full.exit_code


def test_a_new_export_takes_the_place_of_the_old_one_at_once(
    share: Share, redis_url: str, policies: Path, build: Path
) -> None:
    """Its permissions stay, and a link leads to the new content; who has the old file open reads on in it."""
    token, heads = mint(redis_url, policies), list[bytes]()
    with backend(policies, in_turn(heads, reply(b"old", 'ETag: "1"'), reply(b"new", 'ETag: "2"'))):
        gateway = share()
        pull(token["token"], url(gateway, "/export"), "-o", build / "e")
        (build / "e").chmod(0o600)
        (build / "link").symlink_to("e")
        with (build / "e").open() as old:
            assert 0 == pull(token["token"], url(gateway, "/export"), "-o", build / "link").exit_code
            assert "old" == old.read()
    assert "new" == (build / "e").read_text()
    assert (build / "link").is_symlink()
    assert 0o600 == stat.S_IMODE((build / "e").stat().st_mode)


def test_content_without_a_validator_is_compared(share: Share, redis_url: str, policies: Path, build: Path) -> None:
    """The same bytes again are no change, and the file is not written."""
    token = mint(redis_url, policies)
    with backend(policies, always(reply(CONTENT))):
        gateway = share()
        pull(token["token"], url(gateway, "/export"), "-o", build / "e")
        before = snapshot(build)
        result = pull(token["token"], url(gateway, "/export"), "-o", build / "e", "--exit-code")
    assert f"{build}/e: unchanged (200, " in result.stdout
    assert (0, before["e"]) == (result.exit_code, snapshot(build)["e"])


class Time:
    """A clock that moves when the run waits."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waited: list[float] = []

    def wait(self, seconds: float) -> bool:
        self.waited.append(seconds)
        self.now += seconds
        return False

    def clock(self) -> Clock:
        return Clock(lambda: self.now, time.time, self.wait, lambda: 0.0)


def run_all(token: str, exports: list[Export], when: Time, seconds: float = 600, parallel: int = 4) -> list[Outcome]:
    """Pull the exports with a clock of the test's own."""
    stopped = threading.Event()
    transport = Transport("", stopped)
    run = Run(
        transport,
        when.clock(),
        {export.holder: token for export in exports},
        Progress(),
        seconds,
        stopped.set,
        parallel=parallel,
    )
    return pull_all(run, exports)


def export(gateway: GatewayServer, path: str, file: Path) -> Export:
    return Export(url(gateway, path), file, "T", "Authorization")


@pytest.mark.parametrize(
    ("refusals", "waited"),
    [
        ([reply(b"", "Retry-After: 7", status="503 Busy")], [7]),
        ([reply(b"", "Retry-After: 7", status="429 Many"), reply(b"", "Retry-After: 2", status="429 Many")], [7, 2]),
        ([reply(b"", status="500 Oops")] * 3, [0.5, 1, 2]),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ncut"], [0.5]),
        ([reply(CONTENT, f"Repr-Digest: sha-256=:{'A' * 43}=:")], [0.5]),
    ],
)
def test_what_may_pass_is_tried_again(
    share: Share, redis_url: str, policies: Path, build: Path, refusals: list[bytes], waited: list[float]
) -> None:
    """After Retry-After where there is one, and else after a time that doubles."""
    token, when, heads = mint(redis_url, policies), Time(), list[bytes]()
    with backend(policies, in_turn(heads, *refusals, reply(CONTENT))):
        (outcome,) = run_all(token["token"], [export(share(), "/export", build / "e")], when)
    assert (model.Result.CHANGED, len(refusals) + 1) == (outcome.result, outcome.requests)
    assert waited == when.waited
    assert CONTENT == (build / "e").read_bytes()


def test_the_total_time_ends_the_attempts(share: Share, redis_url: str, policies: Path, build: Path) -> None:
    """A Retry-After beyond it is not waited for; the last answer is what is told."""
    token, when, heads = mint(redis_url, policies), Time(), list[bytes]()
    with backend(policies, in_turn(heads, reply(b"", "Retry-After: 7", status="503 Busy"))):
        (outcome,) = run_all(token["token"], [export(share(), "/export", build / "e")], when, seconds=20)
    assert (model.Result.UNREACHABLE, 503, 3) == (outcome.result, outcome.status, outcome.requests)
    assert [7, 7] == when.waited


def test_a_limit_that_can_be_seen_coming_is_not_run_into(
    share: Share, redis_url: str, policies: Path, build: Path
) -> None:
    """Of five exports with a quota of three, three are pulled and two are not asked for: no 429 is in the log."""
    token, when = mint(redis_url, policies), Time()
    with backend(policies, always(reply(CONTENT)), '[quotas]\nhour = "3/hour"'):
        gateway = share()
        exports = [export(gateway, f"/export/{number}", build / str(number)) for number in range(5)]
        outcomes = run_all(token["token"], exports, when, seconds=20)
    assert ["changed"] * 3 + ["limited"] * 2 == sorted(outcome.result for outcome in outcomes)
    assert [] == when.waited
    limited = [outcome for outcome in outcomes if outcome.result == "limited"]
    assert all('the quota "hour" is used up for ' in outcome.message and outcome.requests == 0 for outcome in limited)
    statuses(gateway, token, [200, 200, 200])


def test_exports_are_pulled_side_by_side_within_the_limit(
    share: Share, redis_url: str, policies: Path, build: Path
) -> None:
    """The first alone, as nobody knows the limit; then side by side.

    The quota has room for a request that was just answered and is counted for a moment more: tests/pull/test_pace.py
    has the numbers.
    """
    token, met, heads = mint(redis_url, policies), threading.Barrier(2, timeout=15), list[bytes]()

    def behave(connection: socket.socket) -> None:
        heads.append(read_head(connection))
        if heads[0] is not heads[-1]:
            met.wait()  # each but the first is answered when another one is in flight
        connection.sendall(reply(CONTENT))

    with backend(policies, behave, "[quotas]\nparallel = { concurrent = 6 }"):
        gateway = share()
        exports = [export(gateway, f"/export/{number}", build / str(number)) for number in range(5)]
        outcomes = run_all(token["token"], exports, Time())
    assert ["changed"] * 5 == [outcome.result for outcome in outcomes]
    statuses(gateway, token, [200] * 5)


def test_a_token_that_was_refused_for_its_number_of_requests_says_when_to_come_back(
    share: Share, redis_url: str, policies: Path, build: Path
) -> None:
    """With the quota, from whoami, in a sentence. The exit code is that of a limit."""
    token = mint(redis_url, policies)
    with backend(policies, always(reply(CONTENT)), '[quotas]\nhour = "1/hour"'):
        gateway = share()
        assert 200 == ask(gateway.port, "GET", "/export", token=token["token"]).status
        result = pull(token["token"], url(gateway, "/export"), "-o", build / "e", "--total-time", "1s")
    assert 5 == result.exit_code
    assert (
        f'429: the token "CI" ({token["id"]}) has used up its limit: the quota "hour" allows 1 in 3600 s'
        in result.stderr
    )
    assert "Run the job again in " in result.stderr


def test_a_token_without_the_scope_says_which_one(share: Share, redis_url: str, policies: Path, build: Path) -> None:
    """And which it has, and whom to ask."""
    with backend(policies, always(reply(CONTENT))):
        gateway, token = share(), mint(redis_url, policies, "--scope", "read")
        result = pull(token["token"], url(gateway, "/secret"), "-o", build / "e")
    assert 3 == result.exit_code
    assert f'403: the token "CI" ({token["id"]}) of GATEWAY_TOKEN needs the scope write and has read.' in result.stderr


@pytest.mark.parametrize("etag", ['"strong"', 'W/"weak"'])
def test_a_download_that_broke_off_goes_on_where_it_was(
    share: Share, redis_url: str, policies: Path, build: Path, etag: str
) -> None:
    """In the same run: a strong tag or a digest proves that the rest belongs to the beginning."""
    token, heads = mint(redis_url, policies), list[bytes]()
    fields = (f"ETag: {etag}", f"Repr-Digest: sha-256=:{SHA256}:", "Content-Type: application/octet-stream")
    rest = (f"Content-Range: bytes 3000-7999/{len(CONTENT)}", *fields)
    answers = (reply(CONTENT, *fields)[:-5000], reply(CONTENT[3000:], *rest, status="206 Partial Content"))
    with backend(policies, in_turn(heads, *answers)):
        (outcome,) = run_all(token["token"], [export(share(), "/export", build / "e")], Time())
    assert (model.Result.CHANGED, 206, 8000) == (outcome.result, outcome.status, outcome.received_bytes)
    assert b"range: bytes=3000-\r\n" in heads[1].lower()
    assert (etag == '"strong"') == (b'if-range: "strong"\r\n' in heads[1].lower())
    assert CONTENT == (build / "e").read_bytes()
    assert ["e", "e.pull"] == sorted(file.name for file in build.iterdir())


@pytest.mark.parametrize("proof", ['ETag: "1"', f'ETag: W/"1"\r\nRepr-Digest: sha-256=:{SHA256}:'])
def test_a_rest_of_something_else_is_not_taken(
    share: Share, redis_url: str, policies: Path, build: Path, proof: str
) -> None:
    """A 206 of a newer export ends in a download from the beginning, also if the server ignores If-Range."""
    token, heads = mint(redis_url, policies), list[bytes]()
    old = (proof, "Content-Type: application/octet-stream")
    newer = ('ETag: W/"2"', "Content-Range: bytes 3000-7999/8000", "Content-Type: application/octet-stream")
    answers = (
        reply(CONTENT, *old)[:-5000],
        reply(b"x" * 5000, *newer, status="206 Partial Content"),
        reply(b"new", 'ETag: W/"2"'),
    )
    with backend(policies, in_turn(heads, *answers)):
        (outcome,) = run_all(token["token"], [export(share(), "/export", build / "e")], Time())
    assert (model.Result.CHANGED, 3) == (outcome.result, outcome.requests)
    assert b"new" == (build / "e").read_bytes()


def test_the_next_run_goes_on_after_a_killed_one(share: Share, redis_url: str, policies: Path, build: Path) -> None:
    """What has arrived is kept beside the file, which is not touched before all of it is there."""
    token, heads = mint(redis_url, policies), list[bytes]()
    may_end = threading.Event()
    content = os.urandom(12 << 20)  # larger than what the gateway stores
    head = f'HTTP/1.1 200 OK\r\nETag: "1"\r\nContent-Length: {len(content)}\r\n\r\n'.encode()

    def behave(connection: socket.socket) -> None:
        heads.append(read_head(connection))
        if len(heads) > 1:
            first = int(heads[1].lower().partition(b"range: bytes=")[2].partition(b"-")[0])
            rest = f"Content-Range: bytes {first}-{len(content) - 1}/{len(content)}"
            connection.sendall(reply(content[first:], 'ETag: "1"', rest, status="206 Partial Content"))
            return
        connection.sendall(head + content[: 8 << 20])
        may_end.wait(15)

    with backend(policies, behave):
        gateway = share()
        command = [sys.executable, "-m", "gateway", "pull", url(gateway, "/export"), "-o", str(build / "e")]
        first = Process(command, build.parent / "pull.log", {"GATEWAY_TOKEN": token["token"]})
        part = build / "e.part"
        wait_until(lambda: part.exists() and part.stat().st_size > 1 << 20, "a part has arrived")
        first.stop(signal.SIGKILL)
        may_end.set()
        assert not (build / "e").exists()
        result = pull(token["token"], url(gateway, "/export"), "-o", build / "e", "--json")
    outcome = json.loads(result.stdout)["exports"][0]
    assert ("changed", 206) == (outcome["result"], outcome["status"])
    assert outcome["received_bytes"] < len(content)
    assert content == (build / "e").read_bytes()
    assert not part.exists()


def test_a_run_that_is_interrupted_leaves_nothing_that_cannot_be_resumed(
    share: Share, redis_url: str, policies: Path, build: Path
) -> None:
    """Ctrl+C ends it within a second or two, also with more exports to come."""
    token, may_end = mint(redis_url, policies), threading.Event()

    def behave(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(reply(bytes(12 << 20))[: 9 << 20])
        may_end.wait(15)

    with backend(policies, behave):
        gateway = share()
        words = [word for number in range(3) for word in (url(gateway, f"/{number}"), "-o", str(build / str(number)))]
        command = [sys.executable, "-m", "gateway", "pull", *words]
        run = Process(command, build.parent / "pull.log", {"GATEWAY_TOKEN": token["token"]})
        wait_until(lambda: any(one.stat().st_size > 1 << 20 for one in build.glob("*.part")), "a part has arrived")
        assert 1 == run.stop(signal.SIGINT)
        may_end.set()
    assert "Aborted!" in run.text()
    assert {} == snapshot(build)


def test_check_writes_nothing(share: Share, redis_url: str, policies: Path, build: Path) -> None:
    """10 if an export would change, 0 if not; the folder stays as it is."""
    token, gateway = mint(redis_url, policies), share()
    result = pull(token["token"], url(gateway), "-o", build / "e", "--check")
    assert (10, {}) == (result.exit_code, snapshot(build))
    assert f"{build}/e: would change (200, " in result.stdout
    pull(token["token"], url(gateway), "-o", build / "e")
    before = snapshot(build)
    assert 0 == pull(token["token"], url(gateway), "-o", build / "e", "--check").exit_code
    (build / "e.pull").unlink()
    assert 0 == pull(token["token"], url(gateway), "-o", build / "e", "--check").exit_code
    (build / "e").write_text("edited")
    assert 10 == pull(token["token"], url(gateway), "-o", build / "e", "--check").exit_code
    assert ["e"] == list(snapshot(build))
    assert "e.pull" in before


def test_check_keeps_nothing_to_resume(share: Share, redis_url: str, policies: Path, build: Path) -> None:
    """Also of an export that a download could be resumed of, and that breaks off."""
    token = mint(redis_url, policies)
    for answer, code in ((reply(CONTENT, 'ETag: "1"'), 10), (reply(CONTENT, 'ETag: "1"')[:-1], 4)):
        with backend(policies, always(answer)):
            words = ("-o", build / "e", "--check", "--total-time", "1s")
            assert code == pull(token["token"], url(share(), "/export"), *words).exit_code
        assert {} == snapshot(build)


def test_the_exit_code_tells_a_change_where_it_is_asked_for(
    share: Share, redis_url: str, policies: Path, build: Path
) -> None:
    """A job whose every success is 0 goes on by itself; a script that wants to know asks."""
    token, gateway = mint(redis_url, policies), share()
    assert 10 == pull(token["token"], url(gateway), "-o", build / "e", "--exit-code").exit_code
    assert 0 == pull(token["token"], url(gateway), "-o", build / "e", "--exit-code").exit_code
    assert 2 == pull("", url(gateway), "-o", build / "e").exit_code


def test_json_has_an_entry_for_each_export(share: Share, redis_url: str, policies: Path, build: Path) -> None:
    """In the order of the command, with the sentence of what went wrong; nothing else is on standard output."""
    token, gateway = mint(redis_url, policies), share()
    manifest = build / "exports.toml"
    manifest.write_text(
        f'[[exports]]\nurl = "{url(gateway)}"\noutput = "i18n/a.json"\n'
        f'[[exports]]\nurl = "{url(gateway, "/nothing")}"\noutput = "b.json"\n'
    )
    result = pull(token["token"], "--manifest", manifest, "--json")
    entries: list[dict[str, Any]] = json.loads(result.stdout)["exports"]
    assert 3 == result.exit_code
    assert [("changed", 200), ("refused", 404)] == [(one["result"], one["status"]) for one in entries]
    assert [str(build / "i18n/a.json"), str(build / "b.json")] == [one["file"] for one in entries]
    assert entries[1]["message"] in result.stderr
    assert (build / "i18n/a.json").is_file()


def test_a_token_that_expires_soon_is_told_of(share: Share, redis_url: str, policies: Path, build: Path) -> None:
    """From fourteen days before, on every pull, also one of nothing new."""
    gateway = share()
    soon = datetime.now(UTC) + timedelta(days=9, hours=1)
    token = mint(redis_url, policies, "--expires", soon.strftime("%Y-%m-%dT%H:%M:%SZ"))
    later = mint(redis_url, policies, "--expires", "30d")
    for _ in range(2):
        result = pull(token["token"], url(gateway), "-o", build / "e")
        assert f"warning: the token expires in 9 days, on {soon.date()}: create a new one" in result.stderr
        assert 0 == result.exit_code
    assert "" == pull(later["token"], url(gateway), "-o", build / "e").stderr


def test_github_shows_annotations_and_gitlab_a_section(
    share: Share, redis_url: str, policies: Path, build: Path
) -> None:
    """In their own notations, found by their variables."""
    gateway, token = share(), mint(redis_url, policies, "--expires", "9d")
    github = pull(token["token"], url(gateway, "/nothing"), "-o", build / "e", GITHUB_ACTIONS="true")
    lines = github.stderr.splitlines()
    assert lines[-1].startswith(f"::error title=gateway pull::{build}/e: 404: there is no such export")
    gitlab = pull(token["token"], url(gateway), "-o", build / "e", GITLAB_CI="true").stdout
    assert gitlab.startswith("\x1b[0Ksection_start:")
    assert ":gateway_pull\r\x1b[0KPull exports\n" in gitlab
    assert gitlab.endswith(":gateway_pull\r\x1b[0K\n")


def test_a_terminal_shows_how_far_it_is(share: Share, redis_url: str, policies: Path, build: Path) -> None:
    """A bar, which no log gets."""
    token = mint(redis_url, policies)
    script = find_program("script")
    command = f"{sys.executable} -m gateway pull {url(share())} -o {build / 'e'}"
    shown = subprocess.run(
        [script, "-qec", command, "/dev/null"],
        env={**os.environ, "GATEWAY_TOKEN": token["token"], "TERM": "xterm"},
        capture_output=True,
        check=True,
        stdin=subprocess.DEVNULL,
    ).stdout
    assert b"pulling" in shown
    assert b"100%" in shown
    assert b"changed (200" in shown


def test_a_token_is_in_no_argument_and_no_output(share: Share, redis_url: str, policies: Path, build: Path) -> None:
    """Also not if the server sends it back, or in what is remembered."""
    token = mint(redis_url, policies)

    def echo(connection: socket.socket) -> None:
        read_head(connection)
        problem = json.dumps({"detail": f"do not like {token['token']}"}).encode()
        connection.sendall(reply(problem, "Content-Type: application/problem+json", status="403 No"))

    with backend(policies, echo):
        result = pull(token["token"], url(share(), "/export"), "-o", build / "e")
    assert "403: " in result.stderr
    assert "do not like" in result.stderr
    assert token["token"] not in result.output + "".join(map(str, snapshot(build)))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a private authority, and of a certificate for this machine."""
    folder = tmp_path_factory.mktemp("authority")
    openssl(folder, "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=Authority "
            "-addext keyUsage=critical,keyCertSign -keyout ca.key -out ca.pem")  # fmt: skip
    issue(folder, "server", "DNS:localhost,IP:127.0.0.1,IP:::1")
    return folder


NGINX = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ }}
http {{
  log_format protocol "$server_protocol $request_uri $remote_addr";
  access_log {folder}/access.log protocol;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} ssl http2;
    listen [::1]:{port} ssl http2;
    ssl_certificate {authority}/server.pem;
    ssl_certificate_key {authority}/server.key;
    location / {{ proxy_pass http://127.0.0.1:{gateway}; proxy_set_header Host $http_host; }}
  }}
}}
"""


@pytest.fixture
def edge(share: Share, authority: Path, tmp_path: Path):  # type: ignore[no-untyped-def]
    """nginx with TLS and HTTP/2 in front of the gateway: its port and its folder."""
    nginx, folder, port = find_program("nginx"), tmp_path / "nginx", free_port()
    folder.mkdir()
    text = NGINX.format(folder=folder, port=port, authority=authority, gateway=share().port)
    (folder / "nginx.conf").write_text(text)
    process = Process([nginx, "-c", f"{folder}/nginx.conf", "-p", str(folder)], folder / "nginx.log")
    wait_until(lambda: is_listening(port), "nginx listens")
    yield port, folder
    process.stop()


def test_http_2_a_private_authority_and_ipv6(
    edge: tuple[int, Path], redis_url: str, policies: Path, authority: Path, build: Path
) -> None:
    """Over each of them; who is not trusted gets no token."""
    (port, folder), token = edge, mint(redis_url, policies)
    refused = pull(token["token"], f"https://localhost:{port}{PATH}", "-o", build / "e")
    assert 4 == refused.exit_code
    assert "name the private authority of the server, if it has one, with --ca" in refused.stderr
    ca = authority / "ca.pem"
    for host, words in (("127.0.0.1", ("--ca", ca)), ("[::1]", ("--ca", ca)), ("localhost", ())):
        named = {} if words else {"SSL_CERT_FILE": str(ca)}
        file = build / host.strip("[]").replace(":", "")
        result = pull(token["token"], f"https://{host}:{port}{PATH}", "-o", file, *words, **named)
        assert 0 == result.exit_code, result.output
    lines = (folder / "access.log").read_text().splitlines()
    assert ["HTTP/2.0"] * 3 == [line.split()[0] for line in lines]
    assert "::1" in {line.split()[2] for line in lines}


def test_a_proxy_is_asked_where_the_environment_names_one(
    edge: tuple[int, Path], redis_url: str, policies: Path, authority: Path, build: Path
) -> None:
    """It gets CONNECT, and sees neither the token nor the content. NO_PROXY goes past it."""
    (port, _), token, heads = edge, mint(redis_url, policies), list[bytes]()

    def tunnel(connection: socket.socket) -> None:
        heads.append(read_head(connection))
        with socket.create_connection(("127.0.0.1", port)) as inner:
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=relay, args=(inner, connection))
            back.start()
            relay(connection, inner)
            back.join()

    ca = authority / "ca.pem"
    with RawBackend(tunnel) as proxy:
        address = {"HTTPS_PROXY": f"http://127.0.0.1:{proxy.port}"}
        where = f"https://app.example:{port}{PATH}"
        wrong = pull(token["token"], where, "-o", build / "w", "--ca", ca, **address)
        result = pull(token["token"], f"https://localhost:{port}{PATH}", "-o", build / "e", "--ca", ca, **address)
        past = pull(token["token"], f"https://localhost:{port}{PATH}", "-o", build / "p", "--ca", ca, **address,
                    NO_PROXY="localhost")  # fmt: skip
    assert (4, 0, 0) == (wrong.exit_code, result.exit_code, past.exit_code), result.output
    assert [f"CONNECT app.example:{port}".encode(), f"CONNECT localhost:{port}".encode()] == [
        head.rpartition(b" HTTP/1.1\r\nHost")[0] for head in heads
    ]
    assert all(token["token"].encode() not in head for head in heads)


def relay(source: socket.socket, target: socket.socket) -> None:
    try:
        while piece := source.recv(65536):
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return  # the other end has closed: the tunnel is over
