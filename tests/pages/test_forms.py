"""Changes by forms: only the session's own, only within reach, and never twice."""

from collections.abc import Callable
from typing import Any

import pytest
from litestar.routes import HTTPRoute

from gateway.admin.access import SCOPE
from gateway.core.pages.sessions import IDLE_SECONDS
from gateway.core.tokens.changes import TokenRequest, TokenState
from tests.pages.conftest import NOW, TEST, Clock, Desk, Make, shown_text, tokens_on

OpenDesk = Callable[..., Desk]
DAY = 86400
NEW = {"policy": "shop", "project": "website", "expiry": "30", "scope": "texts:read"}


def state(manage: Any, identity: str) -> TokenState:
    found: TokenState = manage(lambda m: m.show_token(identity)).state
    return found


@pytest.mark.parametrize("headers", [{"sec-fetch-site": "cross-site"}, {"origin": "https://evil.example"}])
def test_C12_a_form_of_another_site_changes_nothing(operator: Desk, make: Make, manage: Any, headers: Any) -> None:
    """Even one that knows the form's token, as no other site can."""
    token = make()
    data = {"form_token": operator.form_token(), "confirmation": "CI"}
    answer = operator.client.post(f"/tokens/{token.view.identity}/revoke", data=data, headers=headers)
    assert 403 == answer.status_code
    assert TokenState.ACTIVE is state(manage, token.view.identity)


@pytest.mark.parametrize("forged", ["", "0" * 64, "é"])
def test_C12_a_forged_form_token_changes_nothing(operator: Desk, make: Make, manage: Any, forged: str) -> None:
    """None, a guessed one, and one of another session."""
    token = make()
    paths = [f"/tokens/{token.view.identity}/{deed}" for deed in ("revoke", "disable", "enable", "rotate", "edit")]
    for path in (*paths, "/tokens", "/sign-out"):
        data = {"form_token": forged, "confirmation": "CI", "overlap": "0", "name": "x", **NEW}
        assert 403 == operator.client.post(path, data=data, follow_redirects=False).status_code
    assert TokenState.ACTIVE is state(manage, token.view.identity)
    assert ["CI"] == tokens_on(operator.get("/tokens?policy=shop"))


def test_C12_a_form_token_of_another_session_is_forged(open_desk: OpenDesk, make: Make, manage: Any) -> None:
    """Though it be of the same token."""
    token = make()
    one, other = open_desk(token.text), open_desk(token.text)
    data = {"form_token": one.form_token()}
    assert 403 == other.client.post(f"/tokens/{token.view.identity}/disable", data=data).status_code
    assert TokenState.ACTIVE is state(manage, token.view.identity)


def test_C12_a_request_with_a_token_of_its_own_needs_no_form_token(operator: Desk, make: Make, manage: Any) -> None:
    """The management API takes a token and nothing else: a browser's session is none there."""
    token, admin = make(), make("api", "", scopes=("read", "write"))
    path, foreign = f"/api/v1/tokens/{token.view.identity}", {"sec-fetch-site": "cross-site"}
    assert 401 == operator.client.delete(path).status_code
    assert TokenState.ACTIVE is state(manage, token.view.identity)
    headers = {"authorization": f"Bearer {admin.text}", **foreign}
    assert 204 == operator.client.delete(path, headers=headers).status_code
    assert TokenState.REVOKED is state(manage, token.view.identity)


def test_a_read_only_admin_token_changes_nothing(open_desk: OpenDesk, make: Make, manage: Any) -> None:
    """Each form of a page takes the scope `write`, as the API does."""
    token, desk = make(), open_desk(make("viewer", "", scopes=("read",)).text)
    paths = [f"/tokens/{token.view.identity}/{deed}" for deed in ("revoke", "disable", "enable", "rotate", "edit")]
    for path in (*paths, "/tokens"):
        answer = desk.post(path, 403, confirmation="CI", overlap="0", name="x", **NEW)
        assert "it lacks the scope write" in answer.text
    assert ["CI"] == [view.record.name for view in manage(lambda m: m.list_tokens("shop"))]
    assert TokenState.ACTIVE is state(manage, token.view.identity)


def test_every_page_says_which_scope_it_takes(operator: Desk, listener: Any) -> None:
    """By the option that the API's handlers have: reading for what shows, writing for what changes."""
    scopes = {
        (method, route.path_format): handler.opt[SCOPE]
        for route in listener.app.routes
        if isinstance(route, HTTPRoute) and not route.path.startswith(("/api", "/-/", "/static", "/metrics"))
        for handler in route.route_handlers
        for method in handler.http_methods
        if method != "OPTIONS"
    }
    open_to_all = {("GET", "/sign-in"): "", ("POST", "/sign-in"): "", ("POST", "/sign-out"): "read"}
    assert scopes == {asked: open_to_all.get(asked, "read" if asked[0] == "GET" else "write") for asked in scopes}
    assert len(scopes) > 15


def test_a_token_does_not_enable_what_an_operator_disabled(open_desk: OpenDesk, make: Make, operator: Desk) -> None:
    """409 and why; the operator does. What the project's own token disabled, it enables again."""
    path, desk = f"/tokens/{make().view.identity}", open_desk(make("own").text)

    def switch(who: Desk, deed: str, status: int = 303) -> str:
        version = str(who.get(path).xpath("//input[@name='version']/@value")[0])
        return str(who.post(f"{path}/{deed}", status, version=version).text)

    switch(operator, "disable")
    assert "only an operator can enable it" in switch(desk, "enable", 409)
    switch(operator, "enable")
    switch(desk, "disable")
    switch(desk, "enable")


def test_what_a_session_made_ends_with_its_token(open_desk: OpenDesk, make: Make, operator: Desk, manage: Any) -> None:
    """The page of each says so, and a tick where the token is revoked ends all of it."""
    leaked, other = make("leaked"), make("other")
    texts = [shown_text(open_desk(leaked.text).post("/tokens", 200, **NEW, name="second", key="k"))]
    more = {**NEW, "scope": ["texts:read"], "name": "third", "key": "k"}
    texts.append(shown_text(open_desk(texts[0]).post("/tokens", 200, **more)))
    made = [manage(lambda m, text=text: m.find_presented(text)).identity for text in texts]
    assert leaked.view.identity == manage(lambda m: m.show_token(made[0])).record.made_by
    assert "leaked" in operator.get(f"/tokens/{made[0]}").xpath("//dt[.='Made with']/../dd")[0].text_content()
    path = f"/tokens/{leaked.view.identity}"
    assert ["second", "third"] == sorted(operator.get(path).xpath("//ul[@class='made-list']//a/text()"))
    assert "the 2 tokens made with it" in operator.get(f"{path}/revoke").text_content()
    operator.post(f"{path}/revoke", confirmation="leaked", with_made="yes")
    identities = (leaked.view.identity, *made, other.view.identity)
    assert [*["revoked"] * 3, "active"] == [state(manage, identity) for identity in identities]


def test_without_the_tick_what_was_made_goes_on(open_desk: OpenDesk, make: Make, operator: Desk, manage: Any) -> None:
    """Revoking one token revokes one."""
    token = make("maker")
    text = shown_text(open_desk(token.text).post("/tokens", 200, **NEW, name="second", key="k"))
    operator.post(f"/tokens/{token.view.identity}/revoke", confirmation="maker")
    assert TokenState.ACTIVE is manage(lambda m: m.find_presented(text)).state


def test_a_form_that_changes_no_scope_leaves_their_order(operator: Desk, make: Make, manage: Any) -> None:
    """What a client gave in its order comes back in it, also after somebody has changed the name."""
    token = make(scopes=("texts:write", "keys:read"))
    path = f"/tokens/{token.view.identity}/edit"
    version = str(operator.get(path).xpath("//input[@name='version']/@value")[0])
    scopes = ["keys:read", "texts:write"]
    operator.post(path, name="renamed", expiry="keep", scope=scopes, version=version)
    record = manage(lambda m: m.show_token(token.view.identity)).record
    assert ("renamed", "texts:write keys:read") == (record.name, record.scopes)


def test_K2_a_new_token_is_shown_once(operator: Desk, redis_server: Any, manage: Any) -> None:
    """In the answer to its form, which nobody may store, and on no page after it."""
    answer = operator.post("/tokens", 200, **NEW, name="deploy", key="once")
    text = shown_text(answer)
    assert "no-store" == answer.headers["cache-control"]
    (view,) = manage(lambda m: m.list_tokens("shop", "website"))
    assert manage(lambda m: m.find_presented(text)).identity == view.identity
    path = f"/tokens/{view.identity}"
    pages = ["/tokens?policy=shop", path, f"{path}/edit", "/history", "/overview"]
    assert [False] * len(pages) == [text in operator.client.get(page).text for page in pages]


def test_a_form_that_is_sent_twice_makes_one_token(operator: Desk, manage: Any) -> None:
    """A page that is loaded anew asks again: it is told so."""
    operator.post("/tokens", 200, **NEW, name="deploy", key="once")
    answer = operator.post("/tokens", 422, **NEW, name="deploy", key="once")
    assert "was sent before" in answer.text
    assert 1 == len(manage(lambda m: m.list_tokens("shop", "website")))


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "x" * 256},
        {"name": "a\x07b"},
        {"project": ""},
        {"expiry": "5"},
        {"expiry": "day", "day": "2001-01-01"},
        {"expiry": "day", "day": "tomorrow"},
        {"scope": "nonsense"},
        {"description": "x" * 2001},
        {"plan": "gold"},
    ],
)
def test_a_form_with_a_mistake_is_shown_again_and_makes_nothing(
    operator: Desk, manage: Any, wrong: dict[str, str]
) -> None:
    """With what was filled in, and a message that a screen reader speaks."""
    answer = operator.post("/tokens", 422, **{**NEW, "name": "deploy", "key": "k", **wrong})
    assert 'role="alert"' in answer.text
    assert [] == manage(lambda m: m.list_tokens("shop", None))
    if "name" not in wrong:
        assert 'value="deploy"' in answer.text


def test_T6_a_token_is_revoked_by_typing_its_name(operator: Desk, make: Make, manage: Any) -> None:
    """Anything else revokes nothing; revoked, it cannot be brought back."""
    path = f"/tokens/{make('My token').view.identity}"
    assert "cannot be undone" in operator.get(f"{path}/revoke").text_content()
    for typed in ("", "my token", "My token x"):
        operator.post(f"{path}/revoke", 422, confirmation=typed)
    assert TokenState.ACTIVE is state(manage, path.rpartition("/")[2])
    operator.post(f"{path}/revoke", confirmation=" My token ")
    assert TokenState.REVOKED is state(manage, path.rpartition("/")[2])
    operator.post(f"{path}/enable", 409)
    assert "revoked" in operator.get(f"{path}?done=revoked").text_content().lower()


def test_two_tabs_that_change_one_token_do_not_undo_each_other(operator: Desk, make: Make, manage: Any) -> None:
    """The second one is told, sees what is there now, and its change is not made."""
    path = f"/tokens/{make().view.identity}"
    version = operator.get(f"{path}/edit").xpath("//input[@name='version']/@value")[0]
    first = {"name": "first", "expiry": "keep", "scope": "texts:read", "version": version}
    operator.post(f"{path}/edit", **first)
    answer = operator.post(f"{path}/edit", 409, **{**first, "name": "second"})
    assert "in the meantime" in answer.text
    assert 'value="first"' in answer.text
    operator.post(f"{path}/disable", 409, version=version)
    view = manage(lambda m: m.show_token(path.rpartition("/")[2]))
    assert "first" == view.record.name
    assert TokenState.ACTIVE == view.state


def test_a_rotation_shows_the_successor_and_ends_the_old_one_later(operator: Desk, make: Make, manage: Any) -> None:
    """Both work during the overlap; a token is rotated once."""
    token = make()
    path = f"/tokens/{token.view.identity}/rotate"
    operator.post(path, 422, overlap="5")
    text = shown_text(operator.post(path, 200, overlap="86400"))
    old, new = (manage(lambda m, t=t: m.find_presented(t)) for t in (token.text, text))
    assert TokenState.ACTIVE == old.state
    assert TokenState.ACTIVE == new.state
    assert new.identity == old.record.successor
    operator.post(path, 422, overlap="86400")


def test_disabling_and_enabling(operator: Desk, make: Make, manage: Any) -> None:
    """Each says what it did; an address that says otherwise is not repeated."""
    identity = make().view.identity
    for deed, expected in (("disable", TokenState.DISABLED), ("enable", TokenState.ACTIVE)):
        version = manage(lambda m: m.show_token(identity)).version
        answer = operator.post(f"/tokens/{identity}/{deed}", version=version)
        assert expected is state(manage, identity)
        assert f"is {deed}d" in operator.get(answer.headers["location"]).text_content()
        other = {"disable": "enabled", "enable": "disabled"}[deed]
        assert f"The token is {other}" not in operator.get(f"/tokens/{identity}?done={other}").text_content()


def test_what_is_out_of_reach_reads_as_if_it_did_not_exist(open_desk: OpenDesk, make: Make, manage: Any) -> None:
    """Another project's token, another policy's, an admin's: 404, whatever is asked of it."""
    desk = open_desk(make("mine").text)
    others = [make("other", project="app"), make("acc", "accounts"), make("ops", "", scopes=("read",))]
    for other in others:
        path = f"/tokens/{other.view.identity}"
        for page in ("", "/edit", "/rotate", "/revoke"):
            desk.get(path + page, 404)
        for deed in ("revoke", "disable", "enable", "rotate", "edit"):
            desk.post(f"{path}/{deed}", 404, confirmation=other.view.record.name, overlap="0")
        assert TokenState.ACTIVE is state(manage, other.view.identity)
    for query in ("policy=accounts", "project=app", "policy=nonsense"):
        desk.get(f"/tokens?{query}", 404)
        desk.get(f"/tokens/new?{query}", 404)
    desk.get("/overview", 404)
    desk.post("/tokens", 404, **{**NEW, "project": "app", "name": "x"})
    assert ["mine"] == tokens_on(desk.get("/tokens?state=all"))


def test_nobody_gives_more_than_he_has(open_desk: OpenDesk, make: Make, manage: Any) -> None:
    """Neither by a new token, nor by a change, nor by taking over another one's successor."""
    giver, larger = make("giver", scopes=("texts:read",)), make("larger", scopes=("texts:write",))
    desk = open_desk(giver.text)
    assert "does not hold texts:write" in desk.post("/tokens", 422, **{**NEW, "name": "x", "scope": "texts:write"}).text
    path = f"/tokens/{giver.view.identity}/edit"
    desk.post(path, 422, name="giver", expiry="keep", scope=["texts:read", "texts:write"])
    desk.post(f"/tokens/{larger.view.identity}/rotate", 422, overlap="0")
    desk.post("/tokens", 200, **{**NEW, "name": "x"})
    assert {"texts:read", "texts:write"} == {
        scope for view in manage(lambda m: m.list_tokens("shop")) for scope in view.record.scopes.split()
    }


@pytest.mark.parametrize(
    ("ends_in", "offered", "chosen"),
    [
        (None, ["7", "30", "90", "365", "day", "never"], "90"),
        (200 * DAY, ["7", "30", "90", "day", "latest"], "90"),
        (30 * DAY + IDLE_SECONDS, ["7", "30", "day", "latest"], "latest"),
        (7 * DAY + IDLE_SECONDS - 1, ["day", "latest"], "latest"),
        (600, ["latest"], "latest"),
    ],
)
def test_a_form_offers_no_later_end_than_one_can_give(
    open_desk: OpenDesk, clock: Clock, make: Make, manage: Any, ends_in: int | None, offered: list[str], chosen: str
) -> None:
    """So it passes as it is shown, for as long as the session holds; what is not offered is not chosen either."""
    ends = None if ends_in is None else int(NOW) + ends_in
    giver = make("giver", scopes=("texts:read",), expires_at=ends)
    desk = open_desk(giver.text)
    edit = desk.get(f"/tokens/{giver.view.identity}/edit")
    assert ["keep", *offered] == edit.xpath("//input[@name='expiry']/@value")
    for asked in ("", "&expiry=400"):
        page = desk.get(f"/tokens/new?policy=shop{asked}")
        assert offered == page.xpath("//input[@name='expiry']/@value")
        assert [chosen] == page.xpath("//input[@name='expiry'][@checked]/@value")
    clock.now += min(IDLE_SECONDS, ends_in or IDLE_SECONDS) - 1
    for number, expiry in enumerate(offered):
        filled = {**NEW, "expiry": expiry, "day": page.xpath("string(//input[@name='day']/@max)") or "2031-01-01"}
        desk.post("/tokens", 200, **filled, name=f"n{number}", key=f"k{number}")
    made = {view.record.name: view.record.expires_at for view in manage(lambda m: m.list_tokens("shop", "website"))}
    assert 1 + len(offered) == len(made)
    if ends is not None:
        assert ends == made[f"n{offered.index('latest')}"] == max(filter(None, made.values()))


def test_an_end_of_somebody_elses_is_nobodys_to_pick(operator: Desk) -> None:
    """An operator has no end of his own to give."""
    assert "Pick one of the times" in operator.post("/tokens", 422, **{**NEW, "name": "x", "expiry": "latest"}).text


def test_nobody_acts_in_another_name(open_desk: OpenDesk, make: Make, manage: Any) -> None:
    """A token that names no owner makes none that does, and takes over none that does."""
    desk, bobs = open_desk(make("giver").text), make("bob's", owner="bob")
    desk.post("/tokens", 200, **NEW, name="x", owner="bob")
    desk.post(f"/tokens/{bobs.view.identity}/rotate", 422, overlap="0")
    views = manage(lambda m: m.list_tokens("shop", "website"))
    assert {"giver": "", "x": "", "bob's": "bob"} == {view.record.name: view.record.owner for view in views}


def test_an_admin_token_for_looking_changes_nothing(open_desk: OpenDesk, make: Make, manage: Any) -> None:
    """It sees all, and each change is refused."""
    token = make()
    desk = open_desk(make("auditor", "", scopes=("read",)).text)
    path = f"/tokens/{token.view.identity}"
    assert [] == desk.get(path).xpath("//a[contains(@href, '/revoke')]")
    for deed in ("revoke", "disable", "rotate", "edit"):
        desk.post(f"{path}/{deed}", 403, confirmation="CI", overlap="0", name="x")
    desk.post("/tokens", 403, **NEW, name="x")
    assert TokenState.ACTIVE is state(manage, token.view.identity)


def test_a_child_changes_nothing(open_desk: OpenDesk, make: Make, manage: Any) -> None:
    """What it made would outlive its parent."""
    parent = make("parent")
    wanted = TokenRequest(name="child", scopes=("texts:read",))
    child = manage(lambda m: m.create_child(TEST, parent.view.identity, wanted))
    desk = open_desk(child.text)
    assert {"parent", "child"} == set(tokens_on(desk.get("/tokens")))
    desk.post("/tokens", 403, **NEW, name="x")
    for deed in ("revoke", "disable", "rotate", "edit"):
        desk.post(f"/tokens/{parent.view.identity}/{deed}", 403, confirmation="parent", overlap="0", name="x")


def test_C11_changes_are_told_of_the_token_that_made_them(open_desk: OpenDesk, make: Make, manage: Any) -> None:
    """`API key NAME`, not a person; an operator by his name."""
    token, victim = make("release-bot"), make("victim")
    desk = open_desk(token.text)
    version = manage(lambda m: m.show_token(victim.view.identity)).version
    desk.post(f"/tokens/{victim.view.identity}/disable", version=version)
    for page in (f"/tokens/{victim.view.identity}", "/history"):
        assert "API key release-bot disabled" in " ".join(desk.get(page).text_content().split())


def test_large_forms_are_refused(operator: Desk) -> None:
    """Nothing that a person fills in comes near the bound."""
    data = {"form_token": operator.form_token(), "name": "x" * 100_000}
    assert 413 == operator.client.post("/tokens", data=data).status_code


def test_the_store_being_away_is_said(operator: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """503 with Retry-After, and that nothing was changed."""
    from gateway.adapters.redis.tokens import RedisTokens
    from gateway.core.errors import StoreUnavailable

    async def away(*_: object) -> None:
        raise StoreUnavailable("away")

    monkeypatch.setattr(RedisTokens, "find_all", away)
    answer = operator.client.get("/tokens?policy=shop")
    assert 503 == answer.status_code
    assert "1" == answer.headers["retry-after"]
    assert "Nothing" in answer.text or "nothing" in answer.text


def test_an_operator_changes_the_plan_of_an_account(
    operator: Desk, open_desk: OpenDesk, make: Make, manage: Any
) -> None:
    """On the list of its tokens, which are shown with it; its own tokens' holders see it and cannot change it."""
    token, address = make(policy="accounts"), "/tokens?policy=accounts&owner=ada"
    choose = "//form[@action='/tokens/plan']//option[@selected]/@value"
    assert [] == operator.get(address).xpath(choose)
    asked: Any = {"policy": "accounts", "owner": "ada"}
    assert address == operator.post("/tokens/plan", plan="pro", **asked).headers["location"]
    assert ["pro"] == operator.get(address).xpath(choose)
    assert "pro" == manage(lambda m: m.show_token(token.view.identity)).record.plan
    operator.post("/tokens/plan", 400, plan="gold", **asked)
    assert ["pro"] == operator.get(address).xpath(choose)
    holder = open_desk(token.text)
    page = holder.get(address)
    assert [] == page.xpath("//form[@action='/tokens/plan']")
    assert "Plan: pro." in page.text_content()
    holder.post("/tokens/plan", 403, plan="free", **asked)
    operator.post("/tokens/plan", plan="", **asked)
    assert "free" == manage(lambda m: m.show_token(token.view.identity)).record.plan


def test_a_new_token_goes_with_its_account_unless_a_plan_is_picked(operator: Desk, make: Make, manage: Any) -> None:
    """The form picks none by itself: else whoever makes a token of an account with a plan would be refused."""
    make("first", policy="accounts")
    operator.post("/tokens/plan", policy="accounts", owner="ada", plan="pro")
    new: Any = {"policy": "accounts", "owner": "ada", "expiry": "30", "scope": "read", "key": "1"}
    page = operator.get("/tokens/new?policy=accounts&owner=ada")
    assert "" == page.xpath("//select[@name='plan']/option/@value")[0]
    assert shown_text(operator.post("/tokens", 200, name="second", plan="", **new))
    refused = operator.post("/tokens", 422, name="third", plan="free", **{**new, "key": "2"})
    assert "the owner ada has the plan pro" in refused.text


def test_a_token_that_is_bound_to_nothing_needs_neither_project_nor_owner(operator: Desk) -> None:
    """Where the product has neither; its holder cannot sign in, as there is nothing that is his."""
    page = operator.get("/tokens/new?policy=unbound")
    assert [] == page.xpath("//input[@name='project' or @name='owner'][@required]")
    new: Any = {"policy": "unbound", "expiry": "30", "key": "1", "project": "", "owner": ""}
    text = shown_text(operator.post("/tokens", 200, name="first", **new))
    assert ["first"] == tokens_on(operator.get("/tokens?policy=unbound"))
    assert 303 != operator.sign_in(text).status_code
