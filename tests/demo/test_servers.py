"""Where the demo listens."""

import socket

import pytest

from gateway.core.errors import ConfigurationError
from gateway.demo.servers import listen, url_of


def test_a_free_address_is_taken_as_it_is() -> None:
    """The port that is asked for is used if nobody has it."""
    listener, was_taken = listen("127.0.0.1:0")
    with listener:
        assert not was_taken
        assert url_of(listener) == f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_a_taken_port_gives_way_to_a_free_one_of_the_same_host() -> None:
    """The host stays as asked: a demo on the loopback interface never opens to the network."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        listener, was_taken = listen(f"127.0.0.1:{other.getsockname()[1]}")
        with listener:
            assert was_taken
            assert listener.getsockname()[0] == "127.0.0.1"


def test_an_address_of_another_machine_is_refused() -> None:
    """Only for a port in use there is another one (192.0.2.1 is nobody's, RFC 5737); the error says what to do."""
    with pytest.raises(ConfigurationError, match=r"192\.0\.2\.1:8080.*; choose another address with --listen"):
        listen("192.0.2.1:8080")


def test_a_wildcard_is_reached_over_the_loopback_interface() -> None:
    """What is printed is an address that a client on this machine can use."""
    listener, _ = listen(":0")
    with listener:
        assert url_of(listener).startswith("http://127.0.0.1:")
