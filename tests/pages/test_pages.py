"""What pages are made of: nothing inline, nothing of others, no text that becomes markup."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from gateway.adapters.redis import keys
from gateway.admin.app import FIELDS
from gateway.core.cache.keys import named_group
from gateway.core.tokens.changes import TokenRequest
from gateway.core.tokens.owners import OwnerChange
from gateway.core.usage import UsageLabels, format_usage_labels
from tests.pages.conftest import NOW, POLICY, TEST, Desk, Make, shown_text, tokens_on
from tests.support.command_line import run_command
from tests.support.processes import wait_until

MARKUP = """<script>alert(1)</script><img src=x onerror=alert(2)>"'&{{ 7 * 7 }}"""


def words_of(page: Any) -> str:
    """All that a page says, a space between two pieces."""
    return " ".join(" ".join(page.itertext()).split())


def paths_of(identity: str) -> list[str]:
    token = f"/tokens/{identity}"
    return [
        *("/sign-in", "/overview", "/tokens?policy=shop", "/tokens/new?policy=shop", "/exports", "/history"),
        *(token, f"{token}/edit", f"{token}/rotate", f"{token}/revoke"),
    ]


def test_no_page_has_script_or_style_of_its_own(operator: Desk, make: Make) -> None:
    """So the policy that forbids them costs nothing."""
    for path in paths_of(make().view.identity):
        page = operator.get(path)
        assert [] == page.xpath("//script[not(@src)] | //style | //@style | //@*[starts-with(name(), 'on')]")
        for address in page.xpath("//script/@src | //link/@href | //img/@src"):
            assert address.startswith("/static/")
            assert 200 == operator.client.get(address).status_code


def test_every_answer_says_what_a_browser_may_not_do(operator: Desk, make: Make) -> None:
    """Pages, files, health, redirections, refusals and what is not there."""
    paths = [*paths_of(make().view.identity), "/", "/-/health", "/nowhere", "/tokens/nothing", "/static/x/page.js"]
    for path in paths:
        headers = operator.client.get(path, follow_redirects=False).headers
        assert FIELDS == {name: headers.get(name) for name in FIELDS}
    assert "unsafe" not in FIELDS["Content-Security-Policy"]


def test_files_are_kept_by_browsers_and_pages_are_not(operator: Desk) -> None:
    """A file's address changes with its content."""
    address = operator.get("/history").xpath("//link[@rel='stylesheet']/@href")[0]
    assert "immutable" in operator.client.get(address).headers["cache-control"]
    assert "no-store" == operator.client.get("/history").headers["cache-control"]
    assert 404 == operator.client.get("/static/x/nothing.css").status_code
    assert 404 == operator.client.get("/static/x/..%2fparts.py").status_code


def test_no_text_becomes_markup(operator: Desk, make: Make, manage: Any) -> None:
    """In name, description, project and owner, in lists, forms, messages and the history."""
    token = make(MARKUP, description=MARKUP, project=MARKUP, owner=MARKUP)
    manage(lambda m: m.rotate_token(TEST, token.view.identity, 3600))
    identity = token.view.identity
    for path in (*paths_of(identity)[1:], f"/tokens?policy=shop&q={MARKUP}", f"/history?actor={MARKUP}"):
        answer = operator.client.get(path)
        assert "<script>alert" not in answer.text
        assert "<img src=x" not in answer.text
    filled = {"policy": "shop", "project": MARKUP, "name": MARKUP, "description": MARKUP, "expiry": MARKUP}
    answer = operator.post("/tokens", 422, **filled, scope=MARKUP, day=MARKUP, owner=MARKUP, plan=MARKUP, key="k")
    assert "<script>alert" not in answer.text
    answer = operator.post(f"/tokens/{identity}/revoke", 422, confirmation=MARKUP + "x")
    assert "<script>alert" not in answer.text
    assert MARKUP in operator.get(f"/tokens/{identity}").xpath("//h1")[0].text_content()


def test_T5_a_list_has_name_prefix_creation_and_last_use(operator: Desk, make: Make) -> None:
    """The beginning of the text and nothing more of it; no other project's."""
    token = make("nightly")
    make("elsewhere", project="app")
    page = operator.get("/tokens?policy=shop&project=website")
    assert ["nightly"] == tokens_on(page)
    row = " ".join(page.xpath("//tbody/tr")[0].text_content().split())
    assert token.view.record.shown in row
    assert token.text not in operator.client.get("/tokens?policy=shop").text
    assert "Never" in row
    assert page.xpath("//tbody//time[@datetime and @title]")


def test_many_tokens_are_searched_and_paged_on_the_server(operator: Desk, manage: Any) -> None:
    """A page has its rows only, every token is on one page, and a search finds the one."""

    async def fill(management: Any) -> None:
        for number in range(60):
            wanted = TokenRequest(name=f"token-{number:03d}", project="website", scopes=("texts:read",))
            await management.create_token(TEST, "shop", wanted)

    manage(fill)
    pages = [tokens_on(operator.get(f"/tokens?policy=shop&sort=name&page={page}")) for page in (1, 2, 3)]
    assert [25, 25, 10] == [len(page) for page in pages]
    assert [f"token-{number:03d}" for number in range(60)] == [*pages[0], *pages[1], *pages[2]]
    assert ["token-042"] == tokens_on(operator.get("/tokens?policy=shop&q=042"))
    assert "Nothing matches" in operator.get("/tokens?policy=shop&q=nonsense").text_content()


def test_a_search_is_over_all_policies(operator: Desk, make: Make) -> None:
    """Of an operator who names none, admin tokens included; each row says which policy it is of."""
    make("deploy", "accounts")
    make("deploy")
    make("deploy", "")
    page = operator.get("/tokens?state=all&q=deploy")
    assert ["deploy"] * 3 == tokens_on(page)
    bindings = [row.xpath(".//span[contains(@class, 'binding')]/text()") for row in page.xpath("//tbody/tr")]
    assert [["accounts", "ada"], ["management API"], ["shop", "website"]] == sorted(bindings)
    assert "All policies" in page.xpath("//h1/../p[@class='crumb']")[0].text_content()
    assert ["", "accounts", "shop", "unbound"] == [
        str(one.get("value", one.text)) for one in page.xpath("//select[@name='policy']/option")
    ]
    address = page.xpath("//li[@data-search]/@data-search")[0]
    assert ["deploy"] * 3 == tokens_on(operator.get(f"{address}deploy"))
    assert ["deploy"] == tokens_on(operator.get("/tokens?policy=shop&q=deploy"))


def test_all_policies_are_those_that_one_may_see(open_desk: Callable[..., Desk], make: Make) -> None:
    """To the holder of a project's token there is that project and nothing else."""
    make("deploy", "accounts")
    make("deploy", project="app")
    make("deploy", "")
    desk = open_desk(make("deploy").text)
    assert ["deploy"] == tokens_on(desk.get("/tokens?q=deploy"))
    desk.get("/tokens?policy=accounts&q=deploy", 404)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("q=nonsense", "2 tokens are in all policies, and none of them fits “nonsense”."),
        ("policy=shop&q=nonsense", "1 token is under shop, and it does not fit “nonsense”."),
        ("policy=accounts&q=nonsense", "There is no token under accounts yet, so none can fit “nonsense”."),
        ("policy=shop&project=app&q=x", "There is no token under shop, app yet, so none can fit “x”."),
        ("policy=shop&state=revoked", "1 token is under shop, and it does not fit. Tokens that are over are shown"),
        ("policy=accounts", "No tokens yet for accounts"),
        ("policy=shop&project=app", "No tokens yet for app"),
    ],
)
def test_what_matches_nothing_is_said_as_it_is(operator: Desk, make: Make, query: str, expected: str) -> None:
    """`No tokens yet` only where there are none and nothing was searched for."""
    make("CI")
    said = words_of(operator.get(f"/tokens?{query}").xpath("//*[@id='list']")[0])
    assert expected in said
    assert ("No tokens yet" in said) == ("No tokens yet" in expected)


def test_an_admin_tokens_page_knows_its_scopes(operator: Desk, make: Make) -> None:
    """With what each means; and nothing is offered that only the command line does."""
    page = operator.get(f"/tokens/{make('other', '').view.identity}")
    said = words_of(page)
    for words in ("See tokens, owners, histories and usage", "RFC 7662", "Policy management API"):
        assert words in said
    assert "no longer knows it" not in said
    links = [str(link).rpartition("/")[2] for link in page.xpath("//div[@class='button-row']//@href")]
    assert ["revoke"] == links
    assert [] == page.xpath("//div[@class='button-row']//form")


def test_an_admin_token_rotates_itself(open_desk: Callable[..., Desk], make: Make) -> None:
    """Its new text is shown once, and no line that would pull an export with it."""
    token = make("ops", "")
    desk, path = open_desk(token.text), f"/tokens/{token.view.identity}"
    assert [f"{path}/rotate"] == desk.get(path).xpath("//div[@class='button-row']//@href")[:1]
    answer = desk.post(f"{path}/rotate", 200, overlap="3600")
    assert shown_text(answer).startswith("gwa_")
    assert "curl" not in answer.text


def test_a_limit_in_shadow_is_told_as_such(open_desk: Callable[..., Desk], make: Make, tmp_path: Path) -> None:
    """Nobody is refused for it: who looks at it must not think so."""
    limits = 'minute = "100/minute"\ntight = { limit = "1/minute", shadow = true }'
    (tmp_path / "shop.toml").write_text(POLICY.replace('minute = "100/minute"', limits))
    desk = open_desk(make("ops", "").text, policies=str(tmp_path))
    limits = desk.get(f"/tokens/{make().view.identity}").xpath("//ul[@class='limits']/li")
    assert [False, True] == ["in shadow" in one.text_content() for one in limits]


@pytest.mark.parametrize("accept", ["text/html,application/xhtml+xml,*/*;q=0.8", "text/html"])
def test_an_unknown_address_is_a_page_for_browsers(operator: Desk, accept: str) -> None:
    """404 in words, with a way back; and 405 likewise."""
    for method, path, status in (("GET", "/nowhere", 404), ("POST", "/nowhere/at/all", 404), ("PUT", "/tokens", 405)):
        answer = operator.client.request(method, path, headers={"accept": accept})
        assert status == answer.status_code
        assert answer.headers["content-type"].startswith("text/html")
        assert "Go to the start" in answer.text
    assert "GET" in answer.headers["allow"]


def test_a_mistake_of_the_gateway_is_a_page_and_a_line_of_the_log(
    operator: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """500 in words for who looks, the cause for who runs it, and no more of it than that on the page."""

    def fail(*_: object) -> None:
        raise RuntimeError("a cause")

    monkeypatch.setattr("gateway.pages.token_list.select", fail)
    answer = operator.client.get("/tokens")
    assert [500, "text/html; charset=utf-8"] == [answer.status_code, answer.headers["content-type"]]
    assert "Internal error" in answer.text
    assert "a cause" not in answer.text
    assert "a cause" in caplog.text


@pytest.mark.parametrize("accept", ["*/*", "application/json", ""])
def test_an_unknown_address_is_problem_details_for_programs(operator: Desk, accept: str) -> None:
    """RFC 9457, with a code, whatever the path."""
    for path in ("/nowhere", "/api/v1/nowhere"):
        answer = operator.client.get(path, headers={"accept": accept})
        assert [404, "application/problem+json"] == [answer.status_code, answer.headers["content-type"]]
        assert "not_found" == answer.json()["code"]


@pytest.mark.parametrize("path", ["/tokens?policy=shop", "/exports", "/history", "/overview"])
def test_every_page_can_be_used_without_seeing_it(operator: Desk, make: Make, path: str) -> None:
    """A language, one main heading, a way past the navigation; each field has a label, each button a name."""
    make()
    page = operator.get(path)
    assert "en" == page.xpath("/html/@lang")[0]
    assert 1 == len(page.xpath("//h1"))
    assert page.xpath("//a[@class='skip' and @href='#main']")
    assert page.xpath("//main[@id='main']")
    for field in page.xpath("//input[not(@type='hidden')] | //select | //textarea"):
        labels = page.xpath("//label[@for=$id]", id=field.get("id", ""))
        assert labels or field.xpath("ancestor::label") or field.get("aria-label"), field.attrib
    for button in page.xpath("//button | //summary | //a"):
        assert button.text_content().strip() or button.get("aria-label"), button.attrib


def test_C14_scopes_are_grouped_by_category(operator: Desk) -> None:
    """The policy's words, else the name before the first colon."""
    page = operator.get("/tokens/new?policy=shop&project=website")
    groups = {
        group.xpath("p")[0].text: group.xpath(".//input/@value") for group in page.xpath("//div[@class='scope-group']")
    }
    assert {"texts": ["texts:read", "texts:write"], "Wordings": ["keys:read"]} == groups


def test_C14_a_bundle_ticks_its_scopes(operator: Desk) -> None:
    """By an address, so without a script; what was filled in before stays."""
    page = operator.get("/tokens/new?policy=shop&project=website&name=deploy&bundle=pull")
    assert ["Pull"] == [button.text for button in page.xpath("//button[@name='bundle']/b")]
    assert ["texts:read", "keys:read"] == page.xpath("//input[@name='scope' and @checked]/@value")
    assert ["deploy"] == page.xpath("//input[@name='name']/@value")


def test_the_overview_shows_what_was_counted(operator: Desk, make: Make, redis_url: str) -> None:
    """Requests, refusals by reason, and the busiest tokens by name."""
    token, hour = make("busy-bot"), int(NOW) // 3600
    answered, refused = (UsageLabels("shop", *what) for what in (("", "2xx", "hit"), ("quota_exceeded", "4xx", "")))
    with redis.Redis.from_url(redis_url) as client:
        counts = {format_usage_labels(answered): 30, format_usage_labels(refused): 10}
        client.hset(keys.policy_usage("shop", hour), mapping=counts)
        client.zadd(keys.busiest(hour), {token.view.identity: 30})
        name, field = keys.token_usage(token.view.identity, hour)
        client.hset(name, field, "30")
    said = words_of(operator.get("/overview"))
    for words in ("Requests, 24 hours 40", "Refused 25 %", "busy-bot shop 30", "quota_exceeded 10"):
        assert words in said
    assert "30 in 30 days" in words_of(operator.get(f"/tokens/{token.view.identity}"))
    titles = operator.get("/tokens?policy=shop").xpath("//*[local-name()='title']/text()")
    assert "30 requests in 14 days" in titles


def test_the_overview_says_what_redis_may_lose(open_desk: Callable[..., Desk], make: Make, redis_url: str) -> None:
    """Snapshots and an append-only file that are not written, keys that may be evicted, with the lines to set; else
    nothing.
    """
    operator = open_desk(make("ops", "", scopes=("read", "write")).text)
    everything = "when it ends, all tokens and revocations are lost"
    lost, evicted = "if it is killed, revocations since its last snapshot are lost", "Redis may evict tokens"
    with redis.Redis.from_url(redis_url) as client:
        assert everything in words_of(operator.get("/overview"))
        client.config_set("save", "3600 1")
        try:
            assert lost in words_of(operator.get("/overview"))
        finally:
            client.config_set("save", "")
        assert "appendonly yes; appendfsync everysec" in words_of(operator.get("/overview"))
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            assert evicted in words_of(operator.get("/overview"))
        finally:
            client.config_set("maxmemory-policy", "noeviction")
        assert evicted not in words_of(operator.get("/overview"))
        client.config_set("appendonly", "yes")
        try:
            assert "Redis:" not in words_of(operator.get("/overview"))
        finally:
            client.config_set("appendonly", "no")


def test_a_backend_where_nobody_listens_is_not_green(
    open_desk: Callable[..., Desk], make: Make, tmp_path: Path
) -> None:
    """Whether a request has failed already or not: red, with the address and why; green where somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as backend, socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        here, there = (f"http://127.0.0.1:{one.getsockname()[1]}" for one in (backend, nobody))
        for name, upstream in (
            ("here", f'"{here}"'),
            ("there", f'"{there}"'),
            ("half", f'{{ targets = ["{here}", "{there}"] }}'),
        ):
            text = POLICY.replace('"shop"', f'"{name}"').replace('"http://127.0.0.1:9001"', upstream)
            (tmp_path / f"{name}.toml").write_text(text.replace("upstream", f'hosts = ["{name}.example"]\nupstream'))
        page = open_desk(make("ops", "").text, policies=str(tmp_path)).get("/overview")
    states = page.xpath("//td[@data-label='State']/span")
    assert [
        ("state ending", "1 of 2 backends unreachable"),
        ("state active", "Served"),
        ("state revoked", "Backend unreachable"),
    ] == [(one.get("class"), one.text) for one in states]
    causes = page.xpath("//tr[@class='causes']")
    assert [True, True] == [f"no connection to {there}: " in cause.text_content() for cause in causes]


def test_the_overview_says_when_files_have_mistakes(open_desk: Callable[..., Desk], make: Make, tmp_path: Path) -> None:
    """With the place, and that the last good set is served."""
    file = tmp_path / "shop.toml"
    file.write_text(POLICY)
    operator = open_desk(make("ops", "", scopes=("read", "write")).text, policies=str(tmp_path))
    file.write_text("nonsense = 1")
    wait_until(lambda: "shop.toml" in operator.client.get("/overview").text, "the page names the file")
    assert "The last good set is served" in operator.get("/overview").text_content()


def test_T9_a_token_shows_where_it_stands_in_its_limits(operator: Desk, make: Make) -> None:
    """Of each quota what is used and what is left."""
    said = words_of(operator.get(f"/tokens/{make().view.identity}"))
    assert "minute 0 of 100" in said
    assert "100 left" in said


@pytest.fixture
def away(operator: Desk) -> Callable[[str], Any]:
    """What a part of a page gets when the session is over."""
    operator.client.cookies.clear()
    return lambda path: operator.client.get(path, headers={"hx-request": "true"}, follow_redirects=False)


def test_a_part_of_a_page_is_not_replaced_by_the_door(away: Callable[[str], Any]) -> None:
    """The whole page goes there."""
    answer = away("/tokens")
    assert 204 == answer.status_code
    assert "/sign-in" == answer.headers["hx-redirect"]


def test_the_history_tells_purges_and_owners_in_words(operator: Desk, manage: Any, redis_url: str) -> None:
    """Of which policy, what was named and how much ended; an owner is no token, so no link to one is made of it."""
    change = OwnerChange(permissions={"website": ("texts:read",)})
    manage(lambda m: m.change_owner(TEST, "shop", "ada", change))
    with redis.Redis.from_url(redis_url) as client:  # purged a while ago: it is the name of a group
        client.set(keys.purged("shop", named_group(MARKUP)), 1)
    purge = ("cache", "purge", "--policy", "shop", "--group", MARKUP, "--redis", redis_url)
    assert 0 == run_command(*purge).exit_code
    page = operator.get("/history")
    latest, before = (words_of(entry) for entry in page.xpath("//ol[@class='history']/li")[:2])
    assert "purged stored exports of shop" in latest
    assert f"group {MARKUP}" in latest
    assert "ended 0" in latest
    assert "changed the owner ada" in before
    assert [] == page.xpath("//ol[@class='history']//a[@href='/tokens/ada']")
