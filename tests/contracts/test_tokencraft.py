"""Tokencraft's published promises, kept by policies/tokencraft.toml alone: contract rows T1 to T13."""

import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import redis

from gateway.adapters.redis import keys
from gateway.core.tokens.text import build_checksum
from tests.contracts.conftest import Commands
from tests.contracts.product import Product, dump, gateway_before
from tests.support.client import Answer, ask
from tests.support.command_line import run_command, run_json
from tests.support.processes import GatewayServer, wait_until

EXPORT = "/api/v1/tokensets/acme-core/modes/light/export?format=css"
INVALID_TOKEN = {"error": "Invalid API token"}
LIMIT = 100


def test_T1_token_text_is_dtk_and_40_characters(tokens: Commands) -> None:
    """A minted token is `dtk_` and 40 letters and digits, another one each time."""
    texts = [tokens.create("acme")["token"] for _ in range(3)]
    assert all(re.fullmatch(r"dtk_[0-9A-Za-z]{40}", text) for text in texts)
    assert len(set(texts)) == 3


def test_T2_the_credential_is_a_bearer_token_on_every_request(gateway: GatewayServer, tokens: Commands) -> None:
    """The token is accepted as `Authorization: Bearer`, and in no other place; each request needs it anew."""
    text = tokens.create("acme")["token"]
    statuses = [
        ask(gateway.port, "GET", "/api/v1/workspaces", token=text).status,
        ask(gateway.port, "GET", "/api/v1/workspaces", fields=[("authorization", f"bEARER {text}")]).status,
        ask(gateway.port, "GET", "/api/v1/workspaces").status,
        ask(gateway.port, "GET", "/api/v1/workspaces", fields=[("X-API-Key", text)]).status,
        ask(gateway.port, "GET", f"/api/v1/workspaces?access_token={text}").status,
    ]
    assert [200, 200, 401, 401, 401] == statuses


def test_T3_a_token_reaches_its_owners_account_and_nothing_else(gateway: GatewayServer, tokens: Commands) -> None:
    """All workspaces of the account are there, another account's are absent, and so are its exports in the cache."""
    acme, globex = tokens.create("acme")["token"], tokens.create("globex")["token"]
    workspaces = {workspace["id"] for workspace in ask(gateway.port, "GET", "/api/v1/workspaces", token=acme).json()}
    assert {"brand", "marketing"} == workspaces
    assert 200 == ask(gateway.port, "GET", EXPORT, token=acme).status
    assert 200 == ask(gateway.port, "GET", EXPORT, token=acme).status
    assert 404 == ask(gateway.port, "GET", EXPORT, token=globex).status
    assert 404 == ask(gateway.port, "GET", "/api/v1/workspaces/brand", token=globex).status


def test_T3_an_account_cannot_be_claimed_by_a_field(gateway: GatewayServer, tokens: Commands) -> None:
    """Identity fields that a client sends are dropped, in every spelling."""
    text = tokens.create("globex")["token"]
    for name in ("X-Gateway-Owner", "x_gateway_owner", "X-Gateway_Owner"):
        answer = ask(gateway.port, "GET", "/api/v1/workspaces", token=text, fields=[(name, "acme")])
        assert ["product"] == [workspace["id"] for workspace in answer.json()]


def write(port: int, text: str) -> Answer:
    """The answer to a new workspace."""
    fields = [("Content-Type", "application/json")]
    return ask(port, "POST", "/api/v1/workspaces", token=text, fields=fields, content=b'{"name": "Spring"}')


def test_T4_writing_needs_pro_or_team_and_an_upgrade_acts_at_once(gateway: GatewayServer, tokens: Commands) -> None:
    """An upgrade of the account acts on the next request of all its tokens, on every worker; so does a downgrade."""
    first, second = tokens.create("acme", "--plan", "free"), tokens.create("acme")
    other, texts = tokens.create("globex"), (first["token"], second["token"])
    for text in texts:
        assert 200 == ask(gateway.port, "GET", "/api/v1/workspaces", token=text).status
        refused = write(gateway.port, text)
        assert 403 == refused.status
        assert {"error": "Your plan does not include write access"} == refused.json()
        for method in ("PUT", "PATCH", "DELETE"):
            assert 403 == ask(gateway.port, method, "/api/v1/workspaces/brand", token=text).status
    for plan, expected in (("pro", 201), ("free", 403), ("team", 201), ("", 403)):
        assert (plan or None) == tokens.set_owner("acme", "--plan", plan)["plan"]
        assert {expected} == {write(gateway.port, text).status for text in texts for _ in range(6)}, plan
        assert 403 == write(gateway.port, other["token"]).status
        assert [plan or "free"] * 2 == [one["plan"] for one in tokens.list("acme")]
    tokens.set_owner("acme", "--plan", "pro")
    assert 201 == write(gateway.port, tokens.create("acme")["token"]).status, "one that is made after the upgrade"
    asked = ("token", "update", first["id"], "--plan", "team", *tokens.options, *tokens.policies)
    assert "the owner acme has the plan pro, and so have its tokens" in str(run_command(*asked).exception)


def test_T4_a_tokens_own_plan_counts_while_its_account_has_none(gateway: GatewayServer, tokens: Commands) -> None:
    """Where accounts are names only, the plan can be the token's: changed in place, for its next request."""
    token = tokens.create("acme", "--plan", "free")
    for plan, expected in (("pro", 201), ("free", 403), ("team", 201)):
        tokens.update(token["id"], "--plan", plan)
        assert expected == write(gateway.port, token["token"]).status, plan


def test_T5_a_listing_shows_name_dates_and_the_first_12_characters(gateway: GatewayServer, tokens: Commands) -> None:
    """Name, creation, last use and twelve characters are listed; the text is nowhere."""
    created = tokens.create("acme", name="Nightly")
    (before,) = tokens.list("acme")
    assert None is before["last_used_at"]
    ask(gateway.port, "GET", "/api/v1/workspaces", token=created["token"])
    (after,) = tokens.list("acme")
    assert "Nightly" == after["name"]
    assert created["token"][:12] == after["shown"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", after["created_at"])
    assert after["last_used_at"] >= after["created_at"]
    assert created["token"] not in str(after)


def test_T6_revocation_is_immediate_and_final(gateway: GatewayServer, tokens: Commands) -> None:
    """The next request is 401 on every worker, also for what is in the cache; no change brings the token back."""
    token = tokens.create("acme", "--plan", "pro")
    assert 200 == ask(gateway.port, "GET", EXPORT, token=token["token"]).status
    tokens.revoke(token["id"])
    statuses = {ask(gateway.port, "GET", EXPORT, token=token["token"]).status for _ in range(10)}
    assert {401} == statuses
    refused = run_command("token", "update", token["id"], "--enable", *tokens.options, *tokens.policies)
    assert 0 != refused.exit_code
    assert "revoked" in str(refused.exception)
    assert 401 == ask(gateway.port, "GET", EXPORT, token=token["token"]).status
    assert "revoked" == tokens.show(token["id"])["state"]


def test_T7_every_bad_token_gets_the_same_body(gateway: GatewayServer, tokens: Commands) -> None:
    """Missing, malformed, revoked and unknown: 401 with the published body, and a challenge."""
    revoked = tokens.create("acme")
    tokens.revoke(revoked["id"])
    text, forgotten = revoked["token"], tokens.create("acme")
    unknown = forgotten["token"]
    with redis.Redis.from_url(tokens.redis_url) as client:
        client.delete(keys.token(revoked["id"]), keys.token(forgotten["id"]))
    missing = ask(gateway.port, "GET", "/api/v1/workspaces")
    assert 'Bearer realm="tokencraft"' == missing.field("www-authenticate")
    answers = [
        ask(gateway.port, "GET", "/api/v1/workspaces", fields=[("Authorization", value)])
        for value in ("Bearer", "Bearer dtk_short", f"Bearer {text[:-1]}!", f"Bearer {text}", f"Bearer {unknown}")
    ]
    assert [(401, INVALID_TOKEN)] * 6 == [(answer.status, answer.json()) for answer in [missing, *answers]]
    assert all('error="invalid_token"' in (answer.field("www-authenticate") or "") for answer in answers)


def test_T7_the_body_is_the_same_however_often_it_is_asked_for(gateway: GatewayServer, tokens: Commands) -> None:
    """One stale secret in a cron job: 401 with the published body every time, and 200 for those beside it."""
    revoked, other = tokens.create("acme"), tokens.create("acme")
    tokens.revoke(revoked["id"])
    unknown = f"dtk_{'0' * 34}"
    unknown += build_checksum(unknown)
    for text in (revoked["token"], unknown, "dtk_short"):
        answers = [ask(gateway.port, "GET", "/api/v1/workspaces", token=text) for _ in range(220)]
        assert {401} == {answer.status for answer in answers}
        assert {"Invalid API token"} == {answer.json()["error"] for answer in answers}
    assert 200 == ask(gateway.port, "GET", "/api/v1/workspaces", token=other["token"]).status


def test_T8_T9_the_hundred_and_first_request_of_a_minute_is_refused(gateway: GatewayServer, tokens: Commands) -> None:
    """A hundred requests pass, the next is 429 with the published body; the fields say so on every answer."""
    token = tokens.create("acme")
    answers = [ask(gateway.port, "GET", "/api/v1/workspaces", token=token["token"]) for _ in range(LIMIT + 1)]
    assert [200] * LIMIT + [429] == [answer.status for answer in answers]
    assert {'"minute";q=100;w=60'} == {answer.field("ratelimit-policy") for answer in answers}
    left = [int(re.match(r'"minute";r=(\d+);t=\d+$', answer.field("ratelimit") or "")[1]) for answer in answers]  # type: ignore[index]  # no match is a failed test
    assert [*range(LIMIT - 1, -1, -1), 0] == left
    refused = answers[-1]
    assert {"error": "Rate limit exceeded. Please try again later."} == refused.json()
    assert 1 <= int(refused.field("retry-after") or 0) <= 66
    assert "no-store" == refused.field("cache-control")


def test_T9_every_answer_says_what_is_left(gateway: GatewayServer, tokens: Commands) -> None:
    """Also what is not modified, not found or refused by the plan; where no token is known there is nothing to say."""
    text = tokens.create("acme", "--plan", "free")["token"]
    tag = ask(gateway.port, "GET", EXPORT, token=text).field("etag") or ""
    answers = [
        ask(gateway.port, "GET", EXPORT, token=text, fields=[("If-None-Match", tag)]),
        ask(gateway.port, "GET", "/api/v1/workspaces/none", token=text),
        ask(gateway.port, "POST", "/api/v1/workspaces", token=text),
        ask(gateway.port, "HEAD", "/api/v1/workspaces", token=text),
    ]
    assert [304, 404, 403, 200] == [answer.status for answer in answers]
    fields = [(answer.field("ratelimit-policy"), (answer.field("ratelimit") or "")[:13]) for answer in answers]
    assert [('"minute";q=100;w=60', f'"minute";r={left}') for left in (98, 97, 97, 96)] == fields
    for unknown in (ask(gateway.port, "GET", "/api/v1/workspaces"), ask(gateway.port, "GET", "/none", token=text)):
        assert unknown.field("ratelimit") is None
        assert unknown.field("ratelimit-policy") is None


def test_T9_the_window_is_reset_after_its_60_seconds(gateway: GatewayServer, tokens: Commands) -> None:
    """When the window has ended, the next request has a full one: the window is moved into the past to see it."""
    token = tokens.create("acme")
    for _ in range(LIMIT + 1):
        last = ask(gateway.port, "GET", "/api/v1/workspaces", token=token["token"])
    assert 429 == last.status
    with redis.Redis.from_url(tokens.redis_url) as client:
        counters = keys.quotas("token", "tokencraft", token["id"])
        (counter,) = client.hkeys(counters)
        resets_at, used = client.hget(counters, counter).split(b":")
        client.hset(counters, counter, b"%d:%b" % (int(resets_at) - 60_000, used))
    fresh = ask(gateway.port, "GET", "/api/v1/workspaces", token=token["token"])
    assert 200 == fresh.status
    assert '"minute";r=99;t=60' == fresh.field("ratelimit")


def test_T9_each_token_has_its_own_limit(gateway: GatewayServer, tokens: Commands) -> None:
    """One token's requests leave another's window untouched, also of the same account."""
    first, second = tokens.create("acme"), tokens.create("acme")
    ask(gateway.port, "GET", "/api/v1/workspaces", token=first["token"])
    answer = ask(gateway.port, "GET", "/api/v1/workspaces", token=second["token"])
    assert (answer.field("ratelimit") or "").startswith('"minute";r=99;')


def pull(port: int, text: str, file: Path, *options: str, target: str = EXPORT) -> subprocess.CompletedProcess[str]:
    """What a job does: curl into a file, its head beside it; an error leaves the file as it was."""
    command = ["curl", "--silent", "--show-error", "--fail", "-o", str(file), "-D", f"{file}.head", *options]
    fields = ["-H", "Host: app.tokencraft.dev", "-H", f"Authorization: Bearer {text}"]
    command += [*fields, f"http://127.0.0.1:{port}{target}"]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def head_of(file: Path) -> str:
    """The status line and the fields of what curl got."""
    return Path(f"{file}.head").read_text().lower()


def test_T10_scheduled_jobs_pull_an_export_with_curl_into_a_file(
    gateway: GatewayServer, tokens: Commands, tmp_path: Path
) -> None:
    """Forty jobs that start at the same moment all get the same stylesheet, each for one of its token's requests."""
    texts = [tokens.create("acme", name=f"job {number}")["token"] for number in range(4)]
    files = [tmp_path / f"tokens-{number}.css" for number in range(40)]
    with ThreadPoolExecutor(40) as pool:
        done = list(pool.map(lambda number: pull(gateway.port, texts[number % 4], files[number]), range(40)))
    assert {(0, "")} == {(one.returncode, one.stderr) for one in done}
    (content,) = {file.read_text() for file in files}
    assert content.startswith(":root {\n")
    assert "  --color-text-link: #1f5fd6;\n" in content
    left = sorted(int(re.findall(r'ratelimit: "minute";r=(\d+)', head_of(file))[0]) for file in files[::4])
    assert [*range(LIMIT - 10, LIMIT)] == left


def test_T10_a_job_that_keeps_its_tag_gets_304(gateway: GatewayServer, tokens: Commands, tmp_path: Path) -> None:
    """curl sends the tag of the last run back: nothing is downloaded, and the file stays as it was."""
    text, file, tag = tokens.create("acme")["token"], tmp_path / "tokens.css", str(tmp_path / "tag")
    first = pull(gateway.port, text, file, "--etag-save", tag)
    before = file.read_bytes()
    again = pull(gateway.port, text, file, "--etag-save", tag, "--etag-compare", tag)
    assert [0, 0] == [first.returncode, again.returncode]
    assert before == file.read_bytes()
    assert head_of(file).startswith("http/1.1 304 ")
    assert 'ratelimit: "minute";r=98;' in head_of(file)


def test_T10_a_job_over_the_limit_fails_and_keeps_its_file(
    gateway: GatewayServer, tokens: Commands, tmp_path: Path
) -> None:
    """The hundred and first pull of a minute is 429: curl says so by its exit code, and last night's file stays."""
    text, file = tokens.create("acme")["token"], tmp_path / "tokens.css"
    assert 0 == pull(gateway.port, text, file).returncode
    before = file.read_bytes()
    assert {200} == {ask(gateway.port, "GET", EXPORT, token=text).status for _ in range(LIMIT - 1)}
    refused = pull(gateway.port, text, file)
    assert 22 == refused.returncode
    assert before == file.read_bytes()
    assert head_of(file).startswith("http/1.1 429 ")
    assert "\nretry-after: " in head_of(file)


def test_T11_a_token_is_nowhere_in_clear(gateway: GatewayServer, tokens: Commands) -> None:
    """Neither logs, nor answers, nor what the backend receives, nor Redis hold the text of any token presented."""
    token = tokens.create("acme")
    text = token["token"]
    wrong = text[:-1] + ("x" if text[-1] != "x" else "y")
    answers = [
        ask(gateway.port, "GET", "/api/v1/whoami", token=text),
        ask(gateway.port, "GET", "/api/v1/whoami", token=wrong),
        ask(gateway.port, "DELETE", "/api/v1/workspaces/brand", token=text),
        ask(gateway.port, "GET", "/nothing", token=text),
        ask(gateway.port, "GET", "/api/v1/whoami", fields=[("Authorization", f"Bearer {text}")] * 2),
    ]
    assert [200, 401, 403, 404, 400] == [answer.status for answer in answers]
    assert "authorization" not in {name for name, _ in answers[0].json()["fields"]}
    tokens.revoke(token["id"])
    answers.append(ask(gateway.port, "GET", "/api/v1/whoami", token=text))
    last_id = answers[-1].field("x-request-id") or "none"
    wait_until(lambda: last_id in gateway.access_log.read_text(), "the access log has the last request")
    everything = b"".join(
        [
            *(str(answer).encode() for answer in answers),
            *(one.encode() for one in dump(tokens.redis_url)),
            gateway.text().encode(),
            gateway.access_log.read_bytes(),
        ]
    )
    secret = text.removeprefix("dtk_")[8:]
    assert secret.encode() not in everything
    assert wrong.removeprefix("dtk_")[8:].encode() not in everything
    assert token["id"].encode() in everything


def test_T11_a_token_in_the_wrong_place_is_in_no_log_either(gateway: GatewayServer, tokens: Commands) -> None:
    """In the path, the query, a cookie or another field: nothing is let in by it, and no line repeats it."""
    text = tokens.create("acme")["token"]
    answers = [
        ask(gateway.port, "GET", f"/api/v1/workspaces/{text}"),
        ask(gateway.port, "GET", f"/{text}"),
        ask(gateway.port, "GET", f"/api/v1/{text.replace('_', '%5F')}/../{text}"),
        ask(gateway.port, "GET", f"/api/v1/workspaces?access_token={text}"),
        ask(gateway.port, "GET", "/api/v1/workspaces", fields=[("Cookie", f"token={text}"), ("Referer", text)]),
        ask(gateway.port, "GET", "/-/whoami", fields=[("X-API-Key", text)]),
        ask(gateway.port, "GET", f"/-/{text}"),
    ]
    assert [401, 404, 400, 401, 401, 401, 404] == [answer.status for answer in answers]
    last_id = ask(gateway.port, "GET", "/api/v1/workspaces").field("x-request-id") or "none"
    wait_until(lambda: last_id in gateway.access_log.read_text(), "the access log has the last request")
    said = [*map(str, answers), *dump(tokens.redis_url), gateway.text(), gateway.access_log.read_text()]
    assert text.removeprefix("dtk_")[8:] not in "".join(said)
    assert '"path":"/api/v1/workspaces/dtk_..."' in gateway.access_log.read_text()


def test_T12_tokens_that_users_hold_already_go_on_working(gateway: GatewayServer, tokens: Commands) -> None:
    """Imported by text or by digest: they authenticate, are listed with what may be shown of them, and are revoked."""
    texts = {"by text": "dtk_1234567890abcdef1234567890abcdef12345678", "by digest": f"dtk_{'Zz9' * 13}Q"}
    where = ("--policy", "tokencraft", "--owner", "acme", *tokens.options, *tokens.policies)
    for text in texts.values():
        assert re.fullmatch(r"dtk_[0-9A-Za-z]{40}", text)
        assert 401 == ask(gateway.port, "GET", "/api/v1/workspaces", token=text).status
    imported = [
        run_json(
            *("token", "import", "--name", "by text", "--text-stdin", *where), stdin=texts["by text"].encode() + b"\n"
        ),
        run_json(
            *("token", "import", "--name", "by digest", "--digest", sha256(texts["by digest"].encode()).hexdigest()),
            *("--shown", texts["by digest"][:12], *where),
        ),
    ]
    for text in texts.values():
        assert 200 == ask(gateway.port, "GET", EXPORT, token=text).status
    listed = {one["name"]: one["shown"] for one in tokens.list("acme")}
    assert {name: text[:12] for name, text in texts.items()} == listed
    for one in imported:
        tokens.revoke(one["id"])
    for text in texts.values():
        refused = ask(gateway.port, "GET", EXPORT, token=text)
        assert (401, INVALID_TOKEN) == (refused.status, refused.json())


def test_T13_the_published_export_is_asked_of_the_product_and_cached(
    redis_url: str, product: Product, tmp_path: Path, tokens: Commands
) -> None:
    """At the page's own path and with its query; once a minute for all tokens of the account, and none of another."""
    product.content = {"of": "acme"}
    with gateway_before({"tokencraft": product.port}, redis_url, tmp_path) as gateway:
        acme = [tokens.create("acme")["token"] for _ in range(2)]
        answers = [ask(gateway.port, "GET", EXPORT, token=text) for text in acme * 3]
        assert [(200, {"of": "acme"})] * 6 == [(answer.status, answer.json()) for answer in answers]
        assert [f"GET {EXPORT}"] == product.asked
        assert all((answer.field("cache-status") or "").startswith("gateway; hit") for answer in answers[1:])
        tag = answers[0].field("etag") or ""
        again = ask(gateway.port, "GET", EXPORT, token=acme[0], fields=[("If-None-Match", tag)])
        assert 304 == again.status
        product.content = {"of": "globex"}
        other = ask(gateway.port, "GET", EXPORT, token=tokens.create("globex")["token"])
        assert {"of": "globex"} == other.json()
        dark = EXPORT.replace("light", "dark").replace("css", "android")
        assert {"of": "globex"} == ask(gateway.port, "GET", dark, token=acme[0]).json()
        assert [f"GET {EXPORT}", f"GET {EXPORT}", f"GET {dark}"] == product.asked
