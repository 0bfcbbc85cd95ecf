"""What KopiMark promises of its tokens, whatever they pull: contract rows K1, K3, K4 and K5 beyond single exports."""

import socket
import threading
from collections.abc import Iterator

import pytest

from tests.contracts.product import Operator, Product, User, gateway_before
from tests.support.processes import GatewayServer, RedisServer
from tests.support.raw import RawBackend, read_head, request_bytes

TEXTS = "GET /api/v1/projects/website/texts"
EXPORT = "GET /api/v1/projects/website/export"
HOST = "api.kopimark.com"


@pytest.fixture
def product(running: Product) -> Product:
    """The product with one text, asked for nothing yet."""
    running.forget().content = {"entries": [{"id": "n_1", "status": "shipped", "values": {"de": "Hallo"}}]}
    return running


@pytest.fixture(scope="module")
def second_node(
    redis_server: RedisServer, running: Product, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayServer]:
    """Another node with two workers, which knows nothing of the first one but the store."""
    with gateway_before({"kopimark": running.port}, redis_server.url, tmp_path_factory.mktemp("gateway")) as server:
        yield server


@pytest.fixture
def users(gateway: GatewayServer, second_node: GatewayServer) -> list[User]:
    """Who asks the one node, and who the other."""
    return [User(node.port, HOST, "Authorization Bearer") for node in (gateway, second_node)]


@pytest.fixture
def operator(redis_url: str) -> Operator:
    """Who makes tokens, on an empty Redis."""
    return Operator("kopimark", redis_url)


def test_K1_a_token_reads_nothing_of_any_other_project(product: Product, users: list[User], operator: Operator) -> None:
    """Whatever path and method: 403, and the product is not asked. Beside projects nothing is served at all."""
    text = operator.create("--project", "website")["token"]
    for way in ("texts", "export", "export?format=csv", "translations/export", "", "texts/../../app/texts"):
        assert users[0].status(f"GET /api/v1/projects/app/{way}", text) in (400, 403), way
        assert users[0].status(f"HEAD /api/v1/projects/app/{way}", text) in (400, 403), way
    for path in ("/api/v1/projects", "/api/v1/workspaces", "/", "/api/v1/projects%2Fapp/texts"):
        assert users[0].status(f"GET {path}", text) in (400, 404), path
    assert [] == product.asked
    assert 200 == users[0].status(TEXTS, text)
    assert "website" == product.received[0].fields["x-gateway-project"]


def test_K3_a_project_has_many_live_tokens_so_rotation_needs_no_downtime(
    product: Product, users: list[User], operator: Operator
) -> None:
    """A build is given the new token while the old one works; it ends when it is revoked, the others go on."""
    tokens = [operator.create("--project", "website", name=f"build {number}") for number in range(12)]
    assert {200} == {users[number % 2].status(TEXTS, token["token"]) for number, token in enumerate(tokens)}
    old, new = tokens[0], operator.run("token", "rotate", tokens[0]["id"], "--overlap", "1h")
    assert [200, 200] == [users[0].status(TEXTS, one["token"]) for one in (old, new)]
    operator.run("token", "revoke", old["id"])
    assert [401, 200] == [users[1].status(TEXTS, one["token"]) for one in (old, new)]
    assert {200} == {users[1].status(TEXTS, token["token"]) for token in tokens[1:]}


def test_K4_the_credential_is_a_bearer_token(product: Product, users: list[User], operator: Operator) -> None:
    """In the Authorization field and nowhere else; the product does not see it."""
    text = operator.create("--project", "website")["token"]
    user = users[0]
    assert 200 == user.status(TEXTS, text)
    assert "authorization" not in product.received[0].fields
    for field, value in (("X-API-Key", text), ("Authorization", text), ("Authorization", f"Basic {text}")):
        refused = user.ask(TEXTS, None, (field, value))
        assert 401 == refused.status
        assert 'Bearer realm="kopimark"' == (refused.field("www-authenticate") or "")[:23]
    assert 401 == user.status(f"{TEXTS}?token={text}", None)
    assert 400 == user.ask(TEXTS, text, ("Authorization", f"Bearer {text}")).status


def test_K5_revocation_reaches_every_worker_of_every_node_with_the_next_request(
    product: Product, users: list[User], operator: Operator
) -> None:
    """Also what is in the cache, in Redis and in each worker's memory, with a tag or without."""
    revoked, other = (operator.create("--project", "website") for _ in range(2))
    tags = {user.ask(EXPORT, revoked["token"]).field("etag") or "" for user in users for _ in range(8)}
    assert 1 == len(tags)
    operator.run("token", "revoke", revoked["id"])
    condition = ("If-None-Match", tags.pop())
    assert {401} == {user.ask(EXPORT, revoked["token"]).status for user in users for _ in range(8)}
    assert {401} == {user.ask(EXPORT, revoked["token"], condition).status for user in users for _ in range(8)}
    assert {200} == {user.ask(EXPORT, other["token"]).status for user in users}
    assert 1 == len(product.asked)


def test_K5_a_revoked_token_is_401_however_often_it_comes(
    product: Product, users: list[User], operator: Operator
) -> None:
    """A build with a stale secret stays 401, and the other builds behind the same address go on."""
    revoked, other = (operator.create("--project", "website") for _ in range(2))
    operator.run("token", "revoke", revoked["id"])
    assert {401} == {users[0].status(TEXTS, revoked["token"]) for _ in range(300)}
    assert {200} == {users[0].status(TEXTS, other["token"]) for _ in range(8)}


def test_K5_holds_where_the_guard_against_guessing_is_on(
    redis_server: RedisServer, running: Product, operator: Operator, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The start says that it is on. A token that exists never counts; unknown ones do."""
    folder, guard = tmp_path_factory.mktemp("guarded"), {"GATEWAY_FAILED_CREDENTIALS": "3/minute"}
    revoked, other = (operator.create("--project", "website") for _ in range(2))
    operator.run("token", "revoke", revoked["id"])
    with gateway_before({"kopimark": running.port}, redis_server.url, folder, environment=guard) as gateway:
        user = User(gateway.port, HOST, "Authorization Bearer")
        assert {401} == {user.status(TEXTS, revoked["token"]) for _ in range(20)}
        assert 200 == user.status(TEXTS, other["token"])
        assert {401, 429} == {user.status(TEXTS, "kopi_unknown") for _ in range(20)}
    assert "GATEWAY_FAILED_CREDENTIALS is on: " in gateway.text()


def test_K5_an_open_stream_of_a_revoked_token_is_cut(
    redis_server: RedisServer, operator: Operator, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Not ended cleanly: nobody takes what came for whole; and the product's work ends with it."""
    is_closed = threading.Event()

    def stream(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        if connection.recv(1) == b"":
            is_closed.set()

    folder = tmp_path_factory.mktemp("gateway")
    token = operator.create("--project", "website")
    with RawBackend(stream) as backend, gateway_before({"kopimark": backend.port}, redis_server.url, folder) as gateway:
        head = request_bytes(
            *(b"Host: " + HOST.encode(), b"Authorization: Bearer " + token["token"].encode()),
            request_line=TEXTS.encode() + b" HTTP/1.1",
        )
        with socket.create_connection(("127.0.0.1", gateway.port), 20) as client:
            client.sendall(head)
            received = b""
            while b"first" not in received:
                received += client.recv(65536)
            operator.run("token", "revoke", token["id"])
            while piece := client.recv(65536):
                received += piece
        assert received.startswith(b"HTTP/1.1 200")
        assert not received.endswith(b"0\r\n\r\n")
        assert is_closed.wait(20)
