"""What the products' pages promise, kept by the developer page: contract rows in a real browser."""

from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.contracts.conftest import Commands
from tests.contracts.pages.conftest import KOPIMARK, LIST, TOKENCRAFT, SignedIn, make_token, run_apart, status_of
from tests.support.client import ask
from tests.support.processes import GatewayServer


def test_K2_a_token_is_shown_once(operator: Page, gateway: GatewayServer) -> None:
    """On the page after the form, with a button to copy it and lines to use it; then nowhere."""
    operator.goto(LIST)
    operator.get_by_role("link", name="New token").first.click()
    text = make_token(operator, "deploy", "read")
    assert 401 != status_of(gateway, text)
    operator.context.grant_permissions(["clipboard-read", "clipboard-write"])
    operator.get_by_role("button", name="Copy token").click()
    expect(operator.get_by_role("button", name="Copied")).to_be_visible()
    assert text == operator.evaluate("navigator.clipboard.readText()")
    for tab, words in (
        ("curl", "--etag-compare"),
        ("gateway pull", "--token-variable"),
        ("GitHub Actions", "runs-on"),
        ("GitLab CI", "script:"),
    ):
        operator.get_by_role("radio", name=tab).check(force=True)
        expect(operator.locator(".tab-panel:visible")).to_contain_text(words)
        expect(operator.locator(".tab-panel:visible")).to_contain_text("KOPIMARK_API_TOKEN")
    operator.get_by_role("link", name="I have stored it").click()
    assert text not in operator.content()
    for path in (LIST, "/history", "/overview"):
        operator.goto(path)
        assert text not in operator.content()
    assert text not in gateway.text() + gateway.access_log.read_text()


def test_K10_the_builder_shows_the_exact_address(
    sign_in: SignedIn, create: Callable[..., dict[str, str]], gateway: GatewayServer
) -> None:
    """It follows each choice at once, with a preview; and what is copied is what the gateway answers."""
    token = create(*KOPIMARK, "--scope", "read", "--scope", "tokens")["token"]
    page = sign_in(token)
    page.get_by_role("link", name="Export builder").click()
    address, sample = page.locator("#export-url"), page.locator(".sample")
    expect(address).to_have_text(
        "https://api.kopimark.com/api/v1/projects/website/export"
        "?format=json&pretty=false&shape=nested&lang=*&status=approved,shipped"
    )
    expect(sample).to_contain_text('"headline":"Welcome"')
    page.get_by_role("radio", name="csv").check(force=True)
    page.get_by_label("Languages").fill("de, fr")
    page.get_by_role("checkbox", name="shipped").uncheck(force=True)
    expect(address).to_contain_text("?format=csv&pretty=false&shape=nested&lang=de,fr&status=approved")
    expect(sample).to_contain_text('"key","de","fr"')
    page.get_by_label("Languages").fill("!")
    expect(page.get_by_text("The option lang must be")).to_be_visible()
    page.get_by_label("Languages").fill("")
    expect(address).to_contain_text("lang=*")
    page.reload()
    expect(address).to_contain_text("format=csv")
    target = address.inner_text().removeprefix("https://api.kopimark.com")
    answer = ask(gateway.port, "GET", target, token=token, host="api.kopimark.com")
    assert answer.status not in (400, 401, 403, 404)


def test_K12_tokens_are_listed_generated_and_revoked(operator: Page, gateway: GatewayServer) -> None:
    """By prefix and creation date; generated and revoked on the page, and refused at once."""
    operator.goto(LIST)
    expect(operator.get_by_role("heading", name="No tokens yet")).to_be_visible()
    operator.get_by_role("link", name="Make the first one").click()
    text = make_token(operator, "pull", "read")
    operator.goto(LIST)
    row = operator.get_by_role("row", name="pull")
    expect(row).to_contain_text(text[:12])
    expect(row.locator("time").first).to_be_visible()
    assert 401 != status_of(gateway, text)
    row.get_by_label("Actions for pull").click()
    row.get_by_role("link", name="Revoke…").click()
    operator.get_by_label("Type pull to confirm").fill("pull")
    operator.get_by_role("button", name="Revoke for good").click()
    expect(operator.get_by_text("The token is revoked, for good")).to_be_visible()
    assert 401 == status_of(gateway, text)


def test_T4_an_upgrade_of_the_account_acts_at_once(
    operator: Page, create: Callable[..., dict[str, str]], gateway: GatewayServer
) -> None:
    """On the list of an account's tokens its plan is chosen: the next request of each of them writes."""
    text = create(*TOKENCRAFT)["token"]

    def write() -> int:
        return ask(gateway.port, "DELETE", "/api/v1/workspaces/none", token=text, host="app.tokencraft.dev").status

    assert 403 == write()
    operator.goto("/tokens?policy=tokencraft&owner=ada")
    plan = operator.get_by_label("Plan", exact=True)
    expect(plan).to_have_value("")
    plan.select_option("pro")
    operator.get_by_role("button", name="Change plan").click()
    expect(plan).to_have_value("pro")
    assert 404 == write()


def test_T5_a_list_shows_name_dates_and_twelve_characters(
    sign_in: SignedIn, create: Callable[..., dict[str, str]], gateway: GatewayServer
) -> None:
    """For the owner of the tokens: his own, with the last use after the first request."""
    mine = create(*TOKENCRAFT, "--scope", "read", "--scope", "tokens", name="Mine")
    create("--policy", "tokencraft", "--owner", "grace", name="Hers")
    path = "/api/v1/tokensets/acme/modes/light/export?format=css"
    ask(gateway.port, "GET", path, token=mine["token"], host="app.tokencraft.dev")
    page = sign_in(mine["token"])
    row = page.get_by_role("row", name="Mine")
    expect(row.locator(".prefix")).to_contain_text(mine["token"][:12])
    assert mine["token"][:13] not in page.content()
    expect(row.get_by_text("just now")).to_be_visible()
    expect(page.get_by_text("Hers")).to_have_count(0)


def test_T6_revoking_asks_first_and_cannot_be_undone(
    operator: Page, create: Callable[..., dict[str, str]], gateway: GatewayServer
) -> None:
    """The button waits for the name; cancelling changes nothing; afterwards there is no way back."""
    token = create(*KOPIMARK, name="Release bot")
    operator.goto(f"/tokens/{token['id']}")
    operator.get_by_role("link", name="Revoke").click()
    question = operator.get_by_role("dialog")
    expect(question).to_contain_text("This cannot be undone")
    button = question.get_by_role("button", name="Revoke for good")
    expect(button).to_be_disabled()
    question.get_by_label("Type Release bot to confirm").fill("release bot")
    expect(button).to_be_disabled()
    question.get_by_role("link", name="Cancel").click()
    assert 401 != status_of(gateway, token["token"])
    operator.get_by_role("link", name="Revoke").click()
    question.get_by_label("Type Release bot to confirm").fill("Release bot")
    button.click()
    expect(operator.get_by_text("Revoked", exact=True)).to_be_visible()
    assert 401 == status_of(gateway, token["token"])
    for name in ("Enable", "Rotate", "Edit"):
        expect(operator.get_by_role("link", name=name)).to_have_count(0)
        expect(operator.get_by_role("button", name=name)).to_have_count(0)


def test_C12_a_forged_form_changes_nothing(
    operator: Page, create: Callable[..., dict[str, str]], gateway: GatewayServer
) -> None:
    """A form without the session's own text is refused, by a page that says so."""
    token = create(*KOPIMARK)
    operator.goto(f"/tokens/{token['id']}/revoke")
    operator.locator("input[name=form_token]").last.evaluate("field => { field.value = 'forged' }")
    operator.get_by_label("Type CI to confirm").fill("CI")
    operator.get_by_role("button", name="Revoke for good").click()
    expect(operator.get_by_role("heading", name="That form is not from here")).to_be_visible()
    assert 401 != status_of(gateway, token["token"])


def test_S7_the_page_is_found_by_typing_what_it_is_for(operator: Page) -> None:
    """From the side panel, and by Ctrl+K (Cmd+K) and `API key`; with the keyboard alone."""
    operator.goto("/history")
    for keys in ("Control+k", "Meta+k"):
        operator.keyboard.press(keys)
        operator.keyboard.type("API key")
        chosen = operator.locator("[role=option][aria-selected=true]")
        expect(chosen).to_have_text("Manage API tokens")
        operator.keyboard.press("Enter")
        expect(operator.get_by_role("heading", name="API tokens", level=1)).to_be_visible()
        operator.goto("/history")
    operator.keyboard.press("Control+k")
    operator.keyboard.type("create")
    operator.keyboard.press("ArrowDown")
    operator.keyboard.press("ArrowUp")
    operator.keyboard.press("Enter")
    expect(operator.get_by_role("heading", name="New token")).to_be_visible()
    operator.get_by_role("navigation", name="Main").get_by_role("link", name="API tokens").click()
    expect(operator.get_by_role("heading", name="API tokens", level=1)).to_be_visible()


def test_C14_bundles_tick_scopes_that_are_grouped(operator: Page) -> None:
    """Comvi's four scopes in three groups, its five bundles; what a bundle ticked can be changed by hand."""
    operator.goto("/tokens/new?policy=comvi&project=7")
    for group in ("Project", "Translations", "Schema"):
        expect(operator.get_by_role("group", name=group, exact=True)).to_be_visible()
    operator.get_by_role("textbox", name="Name").fill("reports")
    operator.get_by_role("button", name="Push").click()
    ticked = operator.locator("[name=scope]:checked")
    expect(ticked).to_have_count(4)
    operator.get_by_role("button", name="Reports").click()
    expect(ticked).to_have_count(2)
    expect(operator.get_by_role("textbox", name="Name")).to_have_value("reports")
    operator.get_by_role("checkbox", name="schema:read").check()
    operator.get_by_role("button", name="Create token").click()
    operator.get_by_role("link", name="I have stored it").click()
    held = operator.locator(".scope-list code").all_inner_texts()
    assert ["project:read", "schema:read", "translations:read"] == sorted(held)


def test_S1_S6_a_key_is_made_shown_once_listed_and_deleted(
    sign_in: SignedIn, create: Callable[..., dict[str, str]], tokens: Commands, gateway: GatewayServer
) -> None:
    """By its user: a name, an end if he wants one, scopes; listed afterwards, never shown again, deleted for good."""
    held = "*=me:read,projects:read,projects:write,actor_tokens:create"
    options = ("--policy", "tokens-studio", *tokens.options, *tokens.policies)
    run_apart("owner", "set", "ada", "--permission", held, *options)
    scopes = ("--scope", "projects:read", "--scope", "actor_tokens:create")
    first = create("--policy", "tokens-studio", "--owner", "ada", *scopes, name="first")
    page = sign_in(first["token"])
    page.get_by_role("link", name="New token").click()
    page.get_by_role("radio", name="Never").check(force=True)
    expect(page.locator("[name=day]")).to_be_hidden()
    text = make_token(page, "figma", "projects:read")
    assert 401 != ask(gateway.port, "GET", "/api/v1/projects", host="api.tokens.studio", token=text).status
    page.get_by_role("navigation", name="Main").get_by_role("link", name="API tokens").click()
    row = page.get_by_role("row", name="figma")
    expect(row).to_contain_text("Never")
    assert text not in page.content()
    row.get_by_role("link", name="figma").click()
    assert text not in page.content()
    page.get_by_role("link", name="Revoke").click()
    page.get_by_label("Type figma to confirm").fill("figma")
    page.get_by_role("button", name="Revoke for good").click()
    expect(page.get_by_text("The token is revoked, for good")).to_be_visible()
    assert 401 == ask(gateway.port, "GET", "/api/v1/projects", host="api.tokens.studio", token=text).status
