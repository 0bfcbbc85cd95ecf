"""Recognised requests that a backend answers: all that is exchanged and recorded is as it is without recognition."""

import gc
import os
import random
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway.core.recognition.conclusion import Conclusion
from gateway.core.recognition.form import Form, Values
from gateway.core.recognition.passage import MAXIMUM_MISSES, BackendHead, cut_backend_head, cut_request
from gateway.core.tokens.changes import TokenChange
from gateway.pipeline.recognition import REST_SIGHTS
from gateway.pipeline.recognition import Passing as PassingRequest
from tests.adapters.raw_backend import ManualClock, RawBackend, always, settle
from tests.server.passing import (
    CLOSE,
    DATES,
    RESET,
    WAIT,
    Mode,
    Passing,
    PassingRun,
    Scenario,
    ScriptedBackend,
    Step,
    answer,
    find_differences,
    is_idle,
)
from tests.server.recognising import ADA, NOW, Client, request, status

pytestmark = pytest.mark.redis

WALKS = int(os.environ.get("RECOGNITION_WALKS", "4"))
"""`make verify` makes more of them."""


@pytest.fixture
async def passing(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Passing]:
    backend = ScriptedBackend()
    async with backend.raw:
        yield Passing(redis_url, tmp_path, monkeypatch, backend)


async def test_a_proxied_request_is_recognised_at_its_third_time(passing: Passing) -> None:
    """The backend is asked each time; ids, traces and the numbers of quotas are each request's own."""

    async def scenario(run: PassingRun) -> None:
        for date in (*DATES, *DATES):
            run.backend.usual = (answer(date=date),)
            assert 200 == status(await run.ask(request("/live/a", run.text)))
            run.pass_time(1000)

    on = await passing.compare(scenario)
    assert 4 == on.counts["recognised"], on.counts
    assert 6 == len({head for _, head in on.backend})
    assert {1} == {number for number, _ in on.backend}


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
ANSWERS: dict[str, tuple[Step, ...]] = {
    "another length": (answer(b"more than before"),),
    "no content": (answer(b""),),
    "without Date": (answer(date=""),),
    "a Date of another form": (answer(b"hello", "Date: Friday, 15-Jan-27 08:00:00 GMT", date=""),),
    "a Date that is none": (answer(date="Fri, 15 Jan 2027 08:00:00 \x01\x02\x03"),),
    "two Dates": (answer(b"hello", f"Date: {DATES[1]}"),),
    "a Date and its copy": (answer(b"hello", f"Expires: {DATES[0]}"),),
    "an echo of the id": (answer(b"hello", "X-Request-Id: $ID"),),
    "an echo elsewhere": (answer(b"hello", "X-Correlation-Id: $ID", "Location: /jobs/$ID"),),
    "its own address": (answer(b"", "Location: http://api.example/there", status="302 Found"),),
    "cookies": (answer(b"hello", "Set-Cookie: a=b; Path=/live", "Set-Cookie: c=d"),),
    "quotas of its own": (answer(b"hello", 'RateLimit-Policy: "own";q=9;w=60', 'RateLimit: "own";r=3;t=9'),),
    "304": (b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\nContent-Length: 5\r\n\r\n',),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n",),
    "404": (answer(b"nothing", status="404 Not Found"),),
    "500": (answer(b"broken", status="500 Internal Server Error"),),
    "503": (answer(b"later", "Retry-After: 7", status="503 Service Unavailable"),),
    "odd white space": (b"HTTP/1.1 200 OK\r\ncontent-length:5\r\nX-Odd:  a\t \r\n\r\nhello",),
    "connection fields": (answer(b"hello", "Connection: keep-alive, X-Own", "Keep-Alive: timeout=5", "X-Own: 1"),),
    "the last on its connection": (answer(b"hello", "Connection: close"), CLOSE),
    "closed without a word": (answer(), CLOSE),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", CLOSE),
    "chunked": (CHUNKED,),
    "in pieces": (answer()[:20], answer()[20:60], answer()[60:]),
    "content in pieces": (answer()[:-3], answer()[-3:]),
    "until the end": (b"HTTP/1.1 200 OK\r\n\r\nhello", CLOSE),
    "interim": (b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + answer(),),
    "interim first": (b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", answer()),
    "100 first": (b"HTTP/1.1 100 Continue\r\n\r\n", answer()),
    "too much": (answer() + b"more",),
    "two answers": (answer() + answer(),),
    "too little": (answer()[:-2], CLOSE),
    "reset in the middle": (answer()[:-2], RESET),
    "half a head": (answer()[:30], CLOSE),
    "nothing": (CLOSE,),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.6\r\n",),
    "bare line feeds": (b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",),
    "a folded line": (f"HTTP/1.1 200 OK\r\nDate: {DATES[0]}\r\n more\r\nContent-Length: 5\r\n\r\nhello".encode(),),
    "an unexpected part": (answer(b"hello", "Content-Range: bytes 0-4/9", status="206 Partial Content"),),
    "an upgrade": (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",),
    "long": (answer(b"x" * 300_000),),
    "percent signs": (answer(b"100%d %b", "X-Odd: 100%b %(a)s"),),
}


def at(steps: tuple[Step, ...], date: str) -> tuple[Step, ...]:
    """The steps of a backend at another time."""
    old, new = DATES[0].encode(), date.encode()
    return tuple([step.replace(old, new) if isinstance(step, bytes) else step for step in steps])


@pytest.mark.parametrize("name", ANSWERS)
async def test_every_answer_is_passed_on_as_without_recognition(passing: Passing, name: str) -> None:
    """An answer to a request that is known by another one, again the usual one, and an answer that is to be learnt."""

    async def scenario(run: PassingRun) -> None:
        data, odd = request("/live/a", run.text), request("/live/odd", run.text)
        for _ in range(4):
            await run.ask(data)
        for date in DATES:
            run.backend.answers.append(at(ANSWERS[name], date))
            await run.ask(data)
            run.pass_time(1000)
        for _ in range(2):
            await run.ask(data)
        for date in (*DATES, *DATES):
            run.backend.answers.append(at(ANSWERS[name], date))
            await run.ask(odd)

    on = await passing.compare(scenario)
    assert 2 < on.counts["recognised"], on.counts


async def know(run: PassingRun, path: str = "/live/a", *lines: str) -> bytes:
    """A request that is recognised from now on, if anything is."""
    data = request(path, run.text, *lines)
    for _ in range(3):
        assert 200 == status(await run.ask(data))
    return data


async def begin(run: PassingRun, data: bytes, number: int = 0) -> Client:
    """The connection of a request that its backend has, and does not answer before `may_go_on`."""
    run.backend.answers.append((WAIT, answer(b"late")))
    before = len(run.backend.heads)
    client = run.begin(data, run.client(number))
    await client.until(lambda: len(run.backend.heads) > before)
    await settle()
    return client


async def go_on(run: PassingRun, *clients: Client) -> None:
    run.backend.may_go_on.set()
    for client in clients:
        await client.until(lambda client=client: is_idle(client))
    await settle()


async def test_whoever_leaves_while_the_backend_is_asked_is_recorded(passing: Passing) -> None:
    """It is charged, and 499; the backend sees its connection end; its place among those in flight is free."""
    await passing.mint(plan="busy")

    async def scenario(run: PassingRun) -> None:
        data = await know(run)
        leaving = [await begin(run, data, number) for number in range(3)]
        for client in leaving:
            client.connection.connection_lost(None)
        await settle()
        await run.known.gateway.refunds.drain()
        assert not run.known.server.tasks
        run.backend.may_go_on.set()
        assert 200 == status(await run.ask(data, run.known.connect()))

    on = await passing.compare(scenario)
    assert 3 == [line["status"] for line in on.log].count(499)


async def test_whoever_leaves_as_the_long_way_begins_is_recorded(passing: Passing) -> None:
    """The backend's answer is unknown, and the client goes before the task of its request runs."""

    async def scenario(run: PassingRun) -> None:
        data = await know(run)
        run.backend.answers.append((CHUNKED,))
        client = run.client()
        take = client.connection._take_answer

        def take_and_go(answered: bytes) -> bool | None:
            taken = take(answered)
            client.connection.connection_lost(None)
            return taken

        client.connection._take_answer = take_and_go  # type: ignore[method-assign, assignment]
        run.begin(data, client)
        await client.until(lambda: client.connection._is_lost or is_idle(client))
        await settle()
        assert 200 == status(await run.ask(data, run.known.connect()))

    on = await passing.run("on", scenario)
    assert [200, 200, 200, 499, 200] == [line["status"] for line in on.log]
    assert 2 == len({number for number, _ in on.backend})  # what nobody reads is closed


async def test_a_stop_answers_what_the_backend_is_asked_for(passing: Passing) -> None:
    """The answer says that the connection ends."""

    async def scenario(run: PassingRun) -> None:
        client = await begin(run, await know(run))
        client.connection.shutdown()
        await settle()
        assert run.known.server.tasks
        await go_on(run, client)
        assert b"\r\nconnection: close\r\n" in client.transport.sent

    await passing.compare(scenario)


async def test_the_end_of_the_grace_period_is_recorded(passing: Passing) -> None:
    """The server cancels its tasks: an answer that has not come by then is recorded as stopped."""

    async def scenario(run: PassingRun) -> None:
        client = await begin(run, await know(run))
        client.connection.shutdown()
        await settle()
        for task in list(run.known.server.tasks):
            task.cancel()
        await settle()

    on = await passing.compare(scenario)
    assert "stopped" == on.log[-1]["ended"]


async def test_whoever_closes_its_side_is_answered(passing: Passing) -> None:
    """It may still read."""

    async def scenario(run: PassingRun) -> None:
        client = await begin(run, await know(run))
        assert client.connection.eof_received() is True
        await go_on(run, client)
        assert client.transport.sent.endswith(b"late")

    await passing.compare(scenario)


async def test_what_follows_waits_for_the_backend(passing: Passing) -> None:
    """Requests behind one that is passed on are answered in their order."""

    async def scenario(run: PassingRun) -> None:
        data = await know(run)
        client = await begin(run, data)
        run.begin(data[:30], client)
        run.begin(data[30:] + request("/nowhere", run.text), client)
        await settle()
        assert 1 + 3 == len(run.backend.heads)
        await go_on(run, client)

    on = await passing.compare(scenario)
    assert [b"200"] * 5 + [b"404"] == [part[:3] for part in on.clients[0].split(b"HTTP/1.1 ")[1:]]


CONTENT = {
    "empty lines": (b"Content-Length: 4", b"\r\n\r\n"),
    "text": (b"Content-Length: 9", b"hello\r\n\r\n"),
    "chunks": (b"Transfer-Encoding: chunked", b"1\r\na\r\n0\r\n\r\n"),
    "no chunk": (b"Transfer-Encoding: chunked", b"0\r\n\r\n"),
    "awaited": (b"Content-Length: 4\r\nExpect: 100-continue", b"\r\n\r\n"),
}
"""Content that ends like a head, and the fields that announce it."""


@pytest.mark.parametrize("name", CONTENT)
async def test_content_that_ends_like_a_head_reaches_the_backend_each_time(passing: Passing, name: str) -> None:
    """A head that announces content and is sent without it would make the next request the content."""

    async def scenario(run: PassingRun) -> None:
        lines, content = CONTENT[name]
        data = request("/live/a", run.text, lines.decode()) + content
        for _ in range(5):
            assert 200 == status(await run.ask(data))
        assert 200 == status(await run.ask(request("/live/b", run.text), run.known.connect()))

    on = await passing.compare(scenario)
    assert "recognised" not in on.counts
    assert "learnt" not in on.counts


async def test_an_id_of_another_request_passes_unchanged(passing: Passing) -> None:
    """A cache before the backend repeats an answer that names the request for which it was made."""

    async def scenario(run: PassingRun) -> None:
        data = request("/live/a", run.text)
        made = answer(b"hello", "X-Made-For: $ID")
        run.backend.answers += [(made,), (made,)]
        for _ in range(2):
            await run.ask(data)
        second = run.backend.heads[-1][1].partition(b"\r\nx-request-id: ")[2].partition(b"\r\n")[0]
        run.backend.usual = (made.replace(b"$ID", second),)
        for _ in range(4):
            assert b"\r\nx-made-for: " + second + b"\r\n" in await run.ask(data)

    on = await passing.compare(scenario)
    assert 1 < on.counts["recognised"], on.counts


async def test_a_silent_backend_is_504(passing: Passing) -> None:
    """Time limits are those of the rule; the backend is not asked again."""

    async def scenario(run: PassingRun) -> None:
        run.known.gateway.upstreams._clock = clock = ManualClock()
        client = await begin(run, await know(run))
        for _ in range(70):
            clock.advance(1)
        await client.until(lambda: is_idle(client))

    on = await passing.compare(scenario)
    assert (504, "response_timeout") == (on.log[-1]["status"], on.log[-1]["upstream_error"]), on.log[-1]
    assert 4 == len(on.backend)


async def test_head_and_content_may_come_apart(passing: Passing) -> None:
    """Many backends write one after the other: such an answer is learnt and recognised like one that comes whole."""

    async def scenario(run: PassingRun) -> None:
        run.known.gateway.upstreams._clock = ManualClock()
        whole = answer(b"hello" * 100)
        run.backend.usual = (whole[:-500], whole[-500:-9], whole[-9:])
        for _ in range(6):
            assert status(await run.ask(request("/live/a", run.text))) == 200

    on = await passing.compare(scenario)
    assert (1, 4) == (on.counts["learnt"], on.counts["recognised"]), on.counts


@pytest.mark.parametrize("rest", ["comes", "is missing", "is too long"])
async def test_content_that_is_late_is_passed_on_as_it_comes(passing: Passing, rest: str) -> None:
    """The client gets the head after five milliseconds at most, and whatever follows it."""

    async def scenario(run: PassingRun) -> None:
        run.known.gateway.upstreams._clock = clock = ManualClock()
        data, whole = await know(run), answer()
        ends: dict[str, Step] = {"comes": whole[-2:], "is missing": CLOSE, "is too long": whole[-2:] + b"more"}
        run.backend.answers.append((whole[:-2], WAIT, ends[rest]))
        before = len(run.client().transport.sent)
        client = run.begin(data)
        await client.until(lambda: len(run.backend.heads) == 4)
        await settle()
        clock.advance(0.01)
        await client.until(lambda: client.transport.sent[before:].endswith(b"hel"))
        await go_on(run, client)

    on = await passing.compare(scenario)
    assert 4 == len(on.backend)


@pytest.mark.parametrize("end", [CLOSE, RESET])
async def test_a_backend_that_ends_in_its_content_cuts_the_answer_off(passing: Passing, end: str) -> None:
    """What has come of a known answer is passed on, though it was held for a moment."""

    async def scenario(run: PassingRun) -> None:
        run.known.gateway.upstreams._clock = ManualClock()
        data = await know(run)
        run.backend.answers.append((answer()[:-2], end))
        await run.ask(data)

    on = await passing.compare(scenario)
    assert "upstream_broken" == on.log[-1]["ended"], on.log[-1]


async def test_a_reload_changes_nothing_under_way(passing: Passing) -> None:
    """The answer is passed on by the policies of its request, and the next request follows the new ones."""

    async def scenario(run: PassingRun) -> None:
        data = await know(run)
        client = await begin(run, data)
        gone = run.known.policy_file.read_text().replace('match = "GET /live/**"', 'match = "GET /gone/**"')
        run.known.policy_file.write_text(gone)
        await run.known.gateway.policies.reload_beside(is_asked_for=True)
        run.known.gateway.keep_upstreams()
        await go_on(run, client)
        assert 404 == status(await run.ask(data))

    await passing.compare(scenario)


async def test_requests_in_flight_are_counted(passing: Passing) -> None:
    """Three at once are the limit while the backend works, however long that takes."""
    await passing.mint(plan="busy")

    async def scenario(run: PassingRun) -> None:
        data = await know(run)
        clients = [await begin(run, data, number) for number in range(3)]
        assert 429 == status(await run.ask(data, run.client(3)))
        assert 3 == len(run.known.gateway.refunds._held)
        await go_on(run, *clients)
        await run.known.gateway.refunds.drain()
        assert not run.known.gateway.refunds._held
        assert 200 == status(await run.ask(data))

    await passing.compare(scenario)


async def test_a_full_worker_counts_what_backends_are_asked_for(passing: Passing) -> None:
    """The limit of requests in progress is the same."""

    async def scenario(run: PassingRun) -> None:
        data = await know(run)
        clients = [await begin(run, data, number) for number in range(2)]
        assert 503 == status(await run.ask(data, run.client(2)))
        await go_on(run, *clients)

    await passing.compare(scenario, max_requests=2)


async def test_without_an_idle_connection_the_long_way_goes_on(passing: Passing) -> None:
    """Connections are opened, and waited for, as without recognition; the reply of Redis is used."""
    passing.policy = (
        passing.policy.replace(f'upstream = "{passing.backend.raw.url()}"', "")
        + f'[upstream]\nurl = "{passing.backend.raw.url()}"\nmax_connections = 1\n'
    )

    async def scenario(run: PassingRun) -> None:
        data = await know(run)
        clients = [await begin(run, data)]
        clients += [run.begin(data, run.client(number)) for number in (1, 2)]
        await settle()
        await go_on(run, *clients)

    on = await passing.compare(scenario)
    assert 0 < on.counts["left:no-connection"], on.counts
    assert {1} == {number for number, _ in on.backend}


async def test_a_slow_client_is_waited_for(passing: Passing) -> None:
    """The answer of a backend to whoever does not read is in progress until it does."""

    async def scenario(run: PassingRun) -> None:
        client = await begin(run, await know(run))
        client.connection.pause_writing()
        run.backend.may_go_on.set()
        await settle()
        assert not is_idle(client)
        client.connection.resume_writing()
        await go_on(run, client)

    await passing.compare(scenario)


async def test_a_failed_backend_is_told_the_same(passing: Passing) -> None:
    """Refused connections open the breaker, and a request after its rest closes it again."""

    async def scenario(run: PassingRun) -> None:
        run.known.gateway.upstreams._clock = clock = ManualClock()
        data = await know(run)
        for steps in ((CLOSE,), (CLOSE,), (answer()[:20], CLOSE), (answer(), CLOSE)):
            run.backend.answers.append(steps)
            await run.ask(data)
            clock.advance(5)
            await run.ask(data)
        (group,) = run.known.gateway.upstreams._groups.values()
        states.append((group._breaker, [(one.health, one._in_use, one.failures.cause) for one in group._targets]))

    states: list[object] = []
    await passing.compare(scenario)
    assert states[0] == states[1]


async def test_of_several_targets_each_gets_its_share(passing: Passing) -> None:
    """Targets differ in Host and path: each is learnt by itself; the choice is the same."""
    async with RawBackend(always(answer(b"other"))) as other:
        passing.policy = passing.policy.replace(f'upstream = "{passing.backend.raw.url()}"', "") + (
            f'[upstream]\ntargets = ["{passing.backend.raw.url()}/one", "{other.url()}"]\nhost = "target"\n'
        )

        async def scenario(run: PassingRun) -> None:
            data = request("/live/a", run.text)
            for _ in range(12):
                assert 200 == status(await run.ask(data))
            asked.append((len(run.backend.heads), list(other.heads)))
            other.heads.clear()

        asked: list[object] = []
        on = await passing.compare(scenario)
    assert asked[0] == asked[1]
    assert 4 < on.counts["recognised"], on.counts


EDITS = {
    "Date removed": "response_headers = { remove = ['Date'] }",
    "Date replaced": "response_headers = { set = { Date = 'Fri, 15 Jan 2027 08:00:00 GMT' } }",
    "trace removed": "request_headers = { remove = ['traceparent', 'X-Request-Id'] }",
    "fields set for the backend": "request_headers = { set = { X-From = 'gateway' } }",
    "fields set for clients": "response_headers = { set = { X-To = 'client' } }",
    "rewritten": "rewrite = { prefix = '/live', replacement = '/inner' }",
    "forwarded": "forwarded = true\nnew_trace = 'none'",
    "a Host of its own": "host = 'app.internal:8443'",
}


@pytest.mark.parametrize("name", EDITS)
@pytest.mark.parametrize(
    "line", ["", "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "X-Request-Id: b-7"]
)
async def test_the_policy_edits_what_passes(passing: Passing, name: str, line: str) -> None:
    """What the backend and the client get is edited as without recognition."""
    passing.policy = (
        passing.policy.replace(f'upstream = "{passing.backend.raw.url()}"', "")
        + f'[upstream]\nurl = "{passing.backend.raw.url()}"\n{EDITS[name]}\n'
    )

    async def scenario(run: PassingRun) -> None:
        for date in (*DATES, *DATES):
            run.backend.usual = (
                answer(b"hello", "Location: /inner/there", f"X-Host: {run.backend.raw.url()}", date=date),
            )
            await run.ask(request("/live/a?b=c", run.text, *([line] if line else [])))
            run.pass_time(1000)

    on = await passing.compare(scenario)
    assert 3 < on.counts["recognised"], on.counts


async def test_a_head_that_is_always_new_is_given_up_and_tried_again(passing: Passing) -> None:
    """The short way costs more than it saves then; a hundred requests later the backend may answer otherwise."""

    async def scenario(run: PassingRun) -> None:
        data = request("/live/a", run.text)
        for number in range(20):
            run.backend.usual = (answer(b"hello", f"X-Runtime: {number}"),)
            await run.ask(data)
        for _ in range(REST_SIGHTS):
            await run.ask(data)

    on = await passing.run("on", scenario)
    assert MAXIMUM_MISSES + 1 == on.counts["left:backend-answer"], on.counts
    assert 1 < on.counts["recognised"], on.counts


@pytest.mark.parametrize("where", ["query", "field", "answer"])
async def test_no_text_of_a_token_is_remembered(passing: Passing, where: str) -> None:
    """A client writes its token where no credential is expected, or the backend says it."""

    async def scenario(run: PassingRun) -> None:
        lines = [f"X-Note: {run.text}"] if where == "field" else []
        run.backend.usual = (answer(b"hello", f"X-Said: {run.text}" if where == "answer" else "X-Said: nothing"),)
        for _ in range(4):
            await run.ask(request(f"/live/a?key={run.text}" if where == "query" else "/live/a", run.text, *lines))
        recognition = run.known.listener.recognition
        if recognition is not None:
            assert run.text not in repr((recognition._known._young, recognition._unknown._young))

    on = await passing.compare(scenario)
    assert "recognised" not in on.counts


LINES = ((), ("traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",), ("X-Request-Id: b-7",))
CALM = ("another length", "without Date", "an echo of the id", "404", "304", "cookies", "percent signs")
"""Answers that a request may have for a while."""


def draw_walk(seed: int) -> Scenario:
    """Requests, answers, changes and steps of time, drawn from a seed: the same for each run."""

    async def scenario(run: PassingRun) -> None:
        draw, management = random.Random(seed), run.known.gateway.management
        usual, paths = list(CALM[:1]), draw.sample(("/live/a", "/live/b?c=d", "/open/a", "/export/a"), 2)
        for step in range(40):
            run.backend.usual = at(ANSWERS[usual[0]], DATES[step // 15 % 3])
            text, path, lines = draw.choice(run.tokens)[0], draw.choice(paths), draw.choice(LINES)
            for _ in range(draw.randrange(1, 5)):
                await run.ask(request(path, text, *lines), run.client(draw.randrange(2)))
            if draw.random() < 0.2:
                usual[0] = draw.choice(CALM)
            if draw.random() < 0.3:
                run.backend.answers.append(at(ANSWERS[draw.choice(list(ANSWERS))], DATES[step // 15 % 3]))
            if draw.random() < 0.5:
                run.pass_time(draw.choice((1, 500, 3_000, 61_000)))
            if draw.random() < 0.15:
                identity, now = draw.choice(run.tokens)[1], run.now // 1000
                change = TokenChange(scopes=draw.choice((("read",), ("read", "write"))), name=draw.choice("xyz"))
                await management.update_token(ADA, identity, change, now=now)

    return scenario


@pytest.mark.parametrize("seed", range(WALKS))
async def test_no_walk_shows_who_recognises(passing: Passing, seed: int) -> None:
    """Client, backend, access log and Redis see the same, byte for byte, whatever backends answer and what changes."""
    await passing.mint()
    await passing.mint(plan="free", expires_at=NOW // 1000 + 14 * 86400 + 40)
    on = await passing.compare(draw_walk(seed))
    assert 3 < on.counts["recognised"], on.counts


@pytest.mark.parametrize("seed", range(WALKS))
async def test_no_walk_finds_a_difference(passing: Passing, seed: int) -> None:
    """In verify mode the request that a backend gets, and its answer, are compared with what the short way makes."""
    await passing.mint()
    await passing.mint(plan="free")
    run = await passing.run("verify", draw_walk(seed))
    assert 0 == run.counts.get("different", 0), run.counts
    assert 3 < run.counts["compared"], run.counts
    assert len(run.backend) <= len(run.log)


def forget_the_trace(sent: bytes, values: Values, given: object) -> Form | None:
    """A request whose trace is taken for constant."""
    return cut_request(sent, (values[0], b"#", b"#"), given)  # type: ignore[arg-type]


def take_our_date(received: bytes, request_id: bytes) -> tuple[BackendHead, bytes | None] | None:
    """A head of a backend with our own Date in the place of the backend's."""
    found = cut_backend_head(received, request_id)
    return (found[0], None) if found is not None else None


def believe_everything(it: Conclusion, now: int, reply: Sequence[Any]) -> bool:
    return bool(reply[1] == it.revoked and len(reply) == it.length)


FAULTS: dict[str, Any] = {
    "gateway.pipeline.learning.cut_request": forget_the_trace,
    "gateway.pipeline.learning.cut_backend_head": take_our_date,
    "gateway.pipeline.recognition.still_holds": believe_everything,
    "gateway.pipeline.recognition.read_numbers": lambda moving, now, reply: (None, None, None, *range(9)),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("mode", ["on", "verify"])
async def test_walks_find_a_planted_fault(
    passing: Passing, monkeypatch: pytest.MonkeyPatch, fault: str, mode: Mode
) -> None:
    """What is taken for constant, or not compared, shows within a few walks: the walks can fail."""
    await passing.mint()
    for seed in range(10):
        off = await passing.run("off", draw_walk(seed))
        with monkeypatch.context() as patch:
            patch.setattr(fault, FAULTS[fault])
            found = await passing.run(mode, draw_walk(seed))
        if found.counts.get("different") or (mode == "on" and find_differences(off, found)):
            return
    raise AssertionError("no walk has found it")


async def test_nothing_of_a_request_is_kept(passing: Passing) -> None:
    """No cycle of references holds a connection or its request after the answer."""

    async def scenario(run: PassingRun) -> None:
        data = await know(run)
        gc.collect()
        gc.disable()
        try:
            before = len([one for one in gc.get_objects() if isinstance(one, PassingRequest)])
            for steps in ((answer(),), (CHUNKED,), (CLOSE,)):
                run.backend.answers.append(steps)
                await run.ask(data)
            after = len([one for one in gc.get_objects() if isinstance(one, PassingRequest)])
        finally:
            gc.enable()
        assert (0, 0) == (before, after)

    await passing.run("on", scenario)
