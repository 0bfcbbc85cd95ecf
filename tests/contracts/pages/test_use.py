"""The developer page as it is used: in two tabs, to and fro, without scripts, with any texts, at any width."""

from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.contracts.conftest import Commands
from tests.contracts.pages.conftest import KOPIMARK, LIST, SignedIn, make_token, run_apart, status_of
from tests.support.processes import GatewayServer


def test_two_tabs_that_change_one_token(operator: Page, create: Callable[..., dict[str, str]]) -> None:
    """The one that comes second is told, and shows what is there now."""
    path = f"/tokens/{create(*KOPIMARK, name='before')['id']}/edit"
    other = operator.context.new_page()
    for page in (operator, other):
        page.goto(path)
    for page, name in ((operator, "first"), (other, "second")):
        page.get_by_role("textbox", name="Name").fill(name)
        page.get_by_role("button", name="Save changes").click()
    expect(operator.get_by_role("heading", name="first")).to_be_visible()
    expect(other.get_by_role("alert")).to_contain_text("in the meantime")
    expect(other.get_by_role("textbox", name="Name")).to_have_value("first")


def test_a_session_used_after_its_end_is_sent_to_the_door(
    operator: Page, create: Callable[..., dict[str, str]], tokens: Commands, gateway: GatewayServer
) -> None:
    """Revoking the token that signed in ends the session with its next click, also in a part of a page."""
    operator.goto(LIST)
    (admin,) = run_apart("token", "list", "--owner", "gateway", *tokens.options)
    run_apart("token", "revoke", admin["id"], *tokens.options)
    operator.get_by_label("Search tokens").fill("x")
    expect(operator.get_by_role("heading", name="Sign in")).to_be_visible()


def test_searching_sorting_and_going_back(operator: Page, create: Callable[..., dict[str, str]]) -> None:
    """A search keeps the order, the address has both, and going back shows what was there before."""
    for name in ("alpha", "beta", "alphabet"):
        create(*KOPIMARK, name=name)
    operator.goto(LIST)
    names = operator.locator(".row-link")
    operator.get_by_role("link", name="Token", exact=True).click()
    expect(names).to_have_text(["alpha", "alphabet", "beta"])
    operator.get_by_label("Search tokens").fill("alpha")
    expect(names).to_have_text(["alpha", "alphabet"])
    assert "sort=name" in operator.url and "q=alpha" in operator.url
    operator.get_by_label("Search tokens").fill("")
    expect(names).to_have_count(3)
    operator.get_by_label("Project").fill("app")
    expect(operator.get_by_role("heading", name="No tokens yet")).to_be_visible()
    expect(operator.locator("#head")).to_contain_text("kopimark / app")
    operator.go_back()
    expect(names).to_have_text(["alpha", "alphabet", "beta"])
    operator.keyboard.press("Control+k")
    expect(operator.get_by_role("dialog", name="Quick menu")).to_be_visible()


MARKUP = "<img src=x onerror=alert(1)><script>alert(2)</script>'\"&"


def test_markup_in_every_text_field_is_text(
    operator: Page, create: Callable[..., dict[str, str]], tokens: Commands
) -> None:
    """In forms, lists, details, history, messages and the palette: it is shown, and nothing runs."""
    operator.goto("/tokens/new?policy=kopimark")
    for label in ("Project", "Owner", "Description"):
        operator.get_by_role("textbox", name=label).fill(MARKUP)
    make_token(operator, MARKUP, "read")
    expect(operator.get_by_text(MARKUP).first).to_be_visible()
    operator.get_by_role("link", name="I have stored it").click()
    expect(operator.get_by_role("heading", level=1)).to_contain_text(MARKUP)
    operator.get_by_role("link", name="Revoke").click()
    expect(operator.get_by_role("dialog")).to_contain_text(MARKUP)
    operator.goto("/tokens?policy=kopimark")
    expect(operator.get_by_role("row", name="alert")).to_contain_text(MARKUP)
    operator.get_by_label("Search tokens").fill(MARKUP + "x")
    expect(operator.get_by_role("heading", name="Nothing matches")).to_be_visible()
    operator.goto("/history")
    expect(operator.get_by_text(MARKUP).first).to_be_visible()
    operator.keyboard.press("Control+k")
    operator.keyboard.type(MARKUP)
    expect(operator.get_by_text(f"Find tokens named “{MARKUP}”")).to_be_visible()
    operator.goto("/exports")
    operator.get_by_label("Project").fill(MARKUP)
    expect(operator.locator("#export-url")).to_contain_text("onerror")


def test_the_page_works_without_scripts(
    sign_in: SignedIn, create: Callable[..., dict[str, str]], gateway: GatewayServer
) -> None:
    """Search, create, edit, disable, rotate, revoke, build an address, sign out."""
    page = sign_in(create("--admin", name="ops")["token"], java_script_enabled=False)
    page.goto(LIST.replace("/tokens", "/tokens/new"))
    text = make_token(page, "plain", "read")
    page.goto(LIST)
    page.get_by_label("Search tokens").fill("plain")
    page.get_by_role("button", name="Search").click()
    page.get_by_role("link", name="plain").click()
    page.get_by_role("button", name="Disable").click()
    assert 401 == status_of(gateway, text)
    page.get_by_role("button", name="Enable").click()
    assert 401 != status_of(gateway, text)
    page.get_by_role("link", name="Rotate").click()
    page.get_by_role("radio", name="None").check()
    page.get_by_role("button", name="Make the new token").click()
    successor = page.get_by_label("The token", exact=True).input_value()
    assert [401, True] == [status_of(gateway, text), 401 != status_of(gateway, successor)]
    page.get_by_role("link", name="I have stored it").click()
    page.get_by_role("link", name="Revoke").click()
    page.get_by_label("Type plain to confirm").fill("plain")
    page.get_by_role("button", name="Revoke for good").click()
    assert 401 == status_of(gateway, successor)
    page.goto("/exports")
    page.get_by_label("Project").fill("website")
    page.get_by_role("button", name="Build").click()
    expect(page.locator("#export-url")).to_contain_text("/projects/website/export?format=json")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_nothing_is_wider_than_the_window(
    sign_in: SignedIn, create: Callable[..., dict[str, str]], tokens: Commands
) -> None:
    """On a telephone, a tablet and a desk, also with the longest texts there may be."""
    long = create(*KOPIMARK, "--scope", "read", name="x" * 255)
    studio = ("--policy", "tokens-studio", *tokens.options, *tokens.policies)
    run_apart("owner", "set", "u" * 128, *studio)
    create("--policy", "tokens-studio", "--owner", "u" * 128, name="All scopes there are")
    page = sign_in(create("--admin", name="o" * 255)["token"])
    token = f"/tokens/{long['id']}"
    for path in (
        LIST,
        "/tokens?policy=tokens-studio",
        "/tokens/new?policy=tokens-studio",
        token,
        f"{token}/revoke",
        "/exports",
        "/history",
        "/overview",
    ):
        page.goto(path)
        for width in (360, 768, 900, 1280):
            page.set_viewport_size({"width": width, "height": 800})
            assert width >= page.evaluate("document.documentElement.scrollWidth"), path


def test_on_a_telephone_every_tab_is_whole(operator: Page) -> None:
    """At 360 px, the width of a small one, each place of the main menu is within the window, and can be tapped."""
    operator.set_viewport_size({"width": 360, "height": 740})
    operator.goto("/overview")
    tabs = operator.get_by_role("navigation", name="Main").get_by_role("link")
    expect(tabs).to_have_count(4)
    for tab in tabs.all():
        box = tab.bounding_box()
        assert box is not None
        assert 0 <= box["x"] and box["x"] + box["width"] <= 360, tab.inner_text()
        assert 32 <= box["height"]
    tabs.last.click()
    expect(operator.get_by_role("heading", name="History", level=1)).to_be_visible()


def test_search_and_the_menu_look_into_all_policies(operator: Page, create: Callable[..., dict[str, str]]) -> None:
    """A token is found whatever its policy, by the menu's keys and on the list; what is not found is said to be so."""
    create(*KOPIMARK, name="needle one")
    create("--policy", "tokencraft", "--owner", "ada", name="needle two")
    operator.goto("/history")
    operator.keyboard.press("Control+k")
    operator.keyboard.type("needle")
    operator.keyboard.press("Enter")
    names = operator.locator(".row-link")
    expect(names).to_have_count(2)
    operator.get_by_label("Search tokens").fill("needle two")
    expect(names).to_have_text(["needle two"])
    operator.get_by_label("Policy").select_option("kopimark")
    expect(operator.locator("#list")).to_contain_text("1 token is under kopimark, and it does not fit “needle two”.")
    operator.get_by_role("link", name="Search all policies").click()
    expect(names).to_have_text(["needle two"])


def test_a_leak_is_ended_with_a_tick(
    sign_in: SignedIn, operator: Page, create: Callable[..., dict[str, str]], gateway: GatewayServer
) -> None:
    """In the dialog that asks before a token is revoked: what was made with it ends, too."""
    leaked = create(*KOPIMARK, "--scope", "read", "--scope", "tokens", name="leaked")
    page = sign_in(leaked["token"])
    page.goto(LIST.replace("/tokens", "/tokens/new"))
    text = make_token(page, "second", "read")
    assert 401 != status_of(gateway, text)
    operator.goto(f"/tokens/{leaked['id']}")
    operator.get_by_role("link", name="Revoke").click()
    question = operator.get_by_role("dialog")
    question.get_by_role("checkbox", name="Also revoke the 1 token made with it").check()
    question.get_by_label("Type leaked to confirm").fill("leaked")
    question.get_by_role("button", name="Revoke for good").click()
    expect(operator.get_by_text("The token is revoked, for good")).to_be_visible()
    assert [401, 401] == [status_of(gateway, one) for one in (leaked["token"], text)]
