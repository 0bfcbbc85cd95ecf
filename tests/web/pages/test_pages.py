"""What pages are made of: nothing inline, nothing of others, no text that becomes markup."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from gateway.adapters import names
from gateway.core.administration import TokenRequest
from gateway.core.caching.keys import named_group
from gateway.core.owners import OwnerChange
from gateway.core.usage import Counted, write_counted
from gateway.web.admin.app import FIELDS
from tests.support.command_line import run_command
from tests.support.processes import wait_until
from tests.web.pages.conftest import NOW, POLICY, TEST, Desk, Make, tokens_on

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
    """Requests, refusals by reason, the busiest tokens by name, and the state of each policy."""
    token, hour = make("busy-bot"), int(NOW) // 3600
    answered, refused = (Counted("shop", *what) for what in (("", "2xx", "hit"), ("quota_exceeded", "4xx", "")))
    with redis.Redis.from_url(redis_url) as client:
        counts = {write_counted(answered): 30, write_counted(refused): 10}
        client.hset(names.policy_usage("shop", hour), mapping=counts)
        client.zadd(names.busiest(hour), {token.view.identity: 30})
        name, field = names.token_usage(token.view.identity, hour)
        client.hset(name, field, "30")
    said = words_of(operator.get("/overview"))
    for words in ("Requests, 24 hours 40", "Refused 25 %", "busy-bot shop 30", "quota_exceeded 10", "Served"):
        assert words in said
    assert "30 in 30 days" in words_of(operator.get(f"/tokens/{token.view.identity}"))
    titles = operator.get("/tokens?policy=shop").xpath("//*[local-name()='title']/text()")
    assert "30 requests in 14 days" in titles


def test_the_overview_says_what_redis_may_lose(open_desk: Callable[..., Desk], make: Make, redis_url: str) -> None:
    """An append-only file that is not written, keys that may be evicted, with the lines to set; else nothing."""
    operator = open_desk(make("ops", "", scopes=("read", "write")).text)
    lost, evicted = "if it is killed, revocations since its last snapshot are lost", "Redis may evict tokens"
    with redis.Redis.from_url(redis_url) as client:
        assert lost in words_of(operator.get("/overview"))
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
        client.set(names.purged("shop", named_group(MARKUP)), 1)
    purge = ("cache", "purge", "--policy", "shop", "--group", MARKUP, "--redis", redis_url)
    assert 0 == run_command(*purge).exit_code
    page = operator.get("/history")
    latest, before = (words_of(entry) for entry in page.xpath("//ol[@class='history']/li")[:2])
    assert "purged stored exports of shop" in latest
    assert f"group {MARKUP}" in latest
    assert "ended 0" in latest
    assert "changed the owner ada" in before
    assert [] == page.xpath("//ol[@class='history']//a[@href='/tokens/ada']")
