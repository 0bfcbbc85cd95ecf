"""Who gets in, and when a session is over."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from gateway.core.pages.sessions import IDLE_SECONDS, LENGTH_SECONDS
from gateway.core.tokens.changes import TokenChange
from gateway.core.tokens.owners import OwnerChange, OwnerStatus
from tests.pages.conftest import ACCOUNTS, POLICY, TEST, Clock, Desk, Make, tokens_on

OpenDesk = Callable[..., Desk]
WRONG = "shop_0000000000000000000000000000000000000000"


@pytest.mark.parametrize(
    ("policy", "start"),
    [("", "/overview"), ("shop", "/tokens"), ("accounts", "/tokens")],
)
def test_each_kind_of_token_signs_in(open_desk: OpenDesk, make: Make, policy: str, start: str) -> None:
    """An operator begins with the overview, a project's or an owner's token with its tokens."""
    desk = open_desk(make(policy=policy).text)
    assert start == desk.client.get("/", follow_redirects=False).headers["location"]
    desk.get(start)


def test_nobody_is_anybody_without_signing_in(open_desk: OpenDesk, make: Make) -> None:
    """Every page sends to the door, and from there back again."""
    desk, token = open_desk(), make()
    for path in ("/", "/overview", "/tokens", "/tokens/new", f"/tokens/{token.view.identity}", "/exports", "/history"):
        answer = desk.client.get(path, follow_redirects=False)
        assert 303 == answer.status_code
        assert "/sign-in" == answer.headers["location"].partition("?")[0]
    answer = desk.sign_in(token.text, next="/history?actor=x")
    assert "/history?actor=x" == answer.headers["location"]


@pytest.mark.parametrize("path", ["//evil.example", "https://evil.example", "/\\evil.example", "evil", "/a\nb", ""])
def test_the_door_leads_nowhere_else(open_desk: OpenDesk, make: Make, path: str) -> None:
    """Only to a path of our own."""
    assert "/" == open_desk().sign_in(make().text, next=path).headers["location"]


def test_what_is_no_token_gets_nowhere(open_desk: OpenDesk, make: Make, manage: Any) -> None:
    """Unknown, malformed, disabled, revoked, of a blocked owner: one answer for all, which repeats nothing."""
    disabled, revoked, blocked = make("disabled"), make("revoked"), make("blocked", "accounts", owner="bob")
    change = OwnerChange(status=OwnerStatus.BLOCKED)
    manage(lambda m: m.update_token(TEST, disabled.view.identity, TokenChange(is_active=False)))
    manage(lambda m: m.revoke_token(TEST, revoked.view.identity))
    manage(lambda m: m.change_owner(TEST, "accounts", "bob", change))
    desk, answers = open_desk(), set()
    for text in (WRONG, "é", "", "x" * 3000, disabled.text, revoked.text, blocked.text):
        answer = desk.sign_in(text)
        assert 401 == answer.status_code
        assert not text or text not in answer.text
        answers.add(answer.text)
    assert 1 == len(answers)


def test_wrong_sign_ins_are_limited_by_address(open_desk: OpenDesk, make: Make) -> None:
    """Ten a minute; then the right token is not looked at either, and Retry-After says how long."""
    desk, token = open_desk(), make()
    assert [401] * 10 == [desk.sign_in(WRONG).status_code for _ in range(10)]
    answer = desk.sign_in(token.text)
    assert 429 == answer.status_code
    assert 1 <= int(answer.headers["retry-after"]) <= 60


def test_a_token_that_exists_is_no_wrong_sign_in(open_desk: OpenDesk, make: Make, manage: Any) -> None:
    """A revoked one opens nothing however often it is tried, and locks out nobody behind the same address."""
    desk, revoked, token = open_desk(), make("revoked"), make()
    manage(lambda m: m.revoke_token(TEST, revoked.view.identity))
    assert [401] * 12 == [desk.sign_in(revoked.text).status_code for _ in range(12)]
    assert 303 == desk.sign_in(token.text).status_code


def test_by_default_only_admin_tokens_sign_in(open_desk: OpenDesk, make: Make, tmp_path: Path) -> None:
    """A policy that names no scope for it opens the page to none of its tokens, whatever they hold."""
    for name, text in (("shop", POLICY), ("accounts", ACCOUNTS)):
        (tmp_path / f"{name}.toml").write_text(re.sub("sign_in_scope.*", "", text))
    desk = open_desk(policies=str(tmp_path))
    texts = [make(policy=policy).text for policy in ("shop", "accounts", "")]
    assert [401, 401, 303] == [desk.sign_in(text).status_code for text in texts]


def test_a_token_signs_in_with_the_scope_that_its_policy_names(open_desk: OpenDesk, make: Make) -> None:
    """Held or implied, by the token and its owner both; one that leaked from a build holds it not."""
    held = [("texts:read",), ("texts:write",), ("keys:read",)]
    assert [303, 303, 401] == [open_desk().sign_in(make(scopes=scopes).text).status_code for scopes in held]


@pytest.mark.parametrize(
    ("change", "permissions"),
    [(TokenChange(scopes=("keys:read",)), "texts:read"), (TokenChange(), "keys:read")],
)
def test_a_session_ends_with_the_scope(
    open_desk: OpenDesk, make: Make, manage: Any, change: TokenChange, permissions: str
) -> None:
    """Taken from the token or from its owner: the very next request is sent to the door."""
    token = make(owner="ada")
    desk = open_desk(token.text)
    desk.get("/tokens")
    manage(lambda m: m.update_token(TEST, token.view.identity, change))
    owner = OwnerChange(permissions={"website": (permissions,)})
    manage(lambda m: m.change_owner(TEST, "shop", "ada", owner))
    desk.get("/tokens", 303)
    assert 401 == desk.sign_in(token.text).status_code


def test_an_admin_token_that_may_not_read_opens_nothing(open_desk: OpenDesk, make: Make, manage: Any) -> None:
    """The page asks for what the API asks for: `introspect` alone reads nothing, also in a session from before."""
    assert 401 == open_desk().sign_in(make("ask", "", scopes=("introspect",)).text).status_code
    token = make("ops", "", scopes=("read",))
    desk = open_desk(token.text)
    desk.get("/overview")
    manage(lambda m: m.update_token(TEST, token.view.identity, TokenChange(scopes=("introspect",))))
    for path in ("/overview", "/tokens", "/history", "/exports"):
        desk.get(path, 303)


def test_an_operator_says_whose_tokens_open_the_page(open_desk: OpenDesk, make: Make) -> None:
    """GATEWAY_SIGN_IN: with `admin` alone a project's token opens nothing."""
    desk = open_desk(sign_in="admin")
    assert [401, 401, 303] == [desk.sign_in(make(policy=p).text).status_code for p in ("shop", "accounts", "")]


def test_a_session_ends_when_nothing_is_asked(open_desk: OpenDesk, make: Make, clock: Clock) -> None:
    """After its idle time it is over, also for what is asked later."""
    desk = open_desk(make().text)
    clock.now += IDLE_SECONDS - 1
    desk.get("/tokens")
    clock.now += IDLE_SECONDS
    desk.get("/tokens", 303)
    clock.now -= IDLE_SECONDS
    desk.get("/tokens", 303)


def test_a_session_ends_after_a_day_of_clicks(open_desk: OpenDesk, make: Make, clock: Clock) -> None:
    """Whatever is asked meanwhile."""
    desk = open_desk(make().text)
    for _ in range(LENGTH_SECONDS // 1200 - 1):
        clock.now += 1200
        desk.get("/history")
    clock.now += 1200
    desk.get("/history", 303)


def test_a_session_used_after_its_end_changes_nothing(open_desk: OpenDesk, make: Make, clock: Clock) -> None:
    """A form that was open for too long is sent to the door, and the token is as it was."""
    token = make()
    desk = open_desk(token.text)
    form_token = desk.form_token()
    clock.now += IDLE_SECONDS
    path, fields = f"/tokens/{token.view.identity}/disable", {"form_token": form_token}
    answer = desk.client.post(path, data=fields, follow_redirects=False)
    assert 303 == answer.status_code
    assert "/sign-in" == answer.headers["location"]
    assert 303 == desk.sign_in(token.text).status_code


def test_revoking_a_token_ends_its_sessions_at_once(open_desk: OpenDesk, make: Make, manage: Any) -> None:
    """The very next request is sent to the door."""
    token = make()
    desk = open_desk(token.text)
    desk.get("/tokens")
    manage(lambda m: m.revoke_token(TEST, token.view.identity))
    desk.get("/tokens", 303)


def test_signing_out_ends_the_session_and_not_the_cookie_alone(open_desk: OpenDesk, make: Make) -> None:
    """Who kept the cookie has nothing."""
    desk = open_desk(make().text)
    kept = dict(desk.client.cookies)
    answer = desk.post("/sign-out")
    assert "Max-Age=0" in answer.headers["set-cookie"]
    desk.client.cookies.update(kept)
    desk.get("/tokens", 303)


def test_the_cookie_is_out_of_reach(open_desk: OpenDesk, make: Make) -> None:
    """HttpOnly, SameSite, of this host; Secure where a trusted proxy says that the browser speaks TLS."""
    desk, token = open_desk(), make()
    plain = desk.sign_in(token.text).headers["set-cookie"]
    assert ["HttpOnly", "Path=/", "SameSite=lax"] == sorted(plain.split("; ")[1:])
    assert plain.startswith("gateway=")


def test_redis_has_no_session_that_opens_anything(open_desk: OpenDesk, make: Make, redis_url: str) -> None:
    """Neither the cookie nor the form's token is anywhere in it; what is there ends by itself."""
    desk = open_desk(make().text)
    secrets = [next(iter(desk.client.cookies.values())), desk.form_token()]
    with redis.Redis.from_url(redis_url) as client:
        keys = list(client.scan_iter("*"))
        dump = b"".join([*keys, *(client.dump(key) or b"" for key in keys)])
        (session,) = client.scan_iter("gw1:session:*")
        assert 0 < client.ttl(session) <= IDLE_SECONDS
    assert [False, False] == [secret.encode() in dump for secret in secrets]


def test_a_new_sign_in_has_a_new_session(open_desk: OpenDesk, make: Make) -> None:
    """A cookie that somebody planted before is not taken over."""
    desk, token = open_desk(), make()
    desk.client.cookies.set("gateway", "A" * 43)
    desk.sign_in(token.text)
    assert "A" * 43 not in [cookie.value for cookie in desk.client.cookies.jar if cookie.domain]
    assert ["CI"] == tokens_on(desk.get("/tokens"))
