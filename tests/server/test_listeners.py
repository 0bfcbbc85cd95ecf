"""What a connection needs of the listener that answers its requests: the type checker holds both listeners to it."""

from pathlib import Path

from gateway.admin_app import create_admin_listener
from gateway.app import create_app
from gateway.server.connection import Listener
from gateway.settings import Settings

POLICIES = Path(__file__).parents[2] / "policies"


def test_both_listeners_are_ones() -> None:
    """A listener that lacks something would let each connection wait for ever."""
    settings = Settings(policies=str(POLICIES), redis_url="memory://")
    public: Listener = create_app(settings)
    admin: Listener = create_admin_listener(settings)
    assert public.recognition is not None
    assert admin.recognition is None
