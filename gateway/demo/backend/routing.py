"""The shared parts of the example backend's routes: who asks, what they read, which methods read."""

from typing import Annotated, TypeAlias

from litestar import HttpMethod, route
from litestar.di import NamedDependency
from litestar.params import HeaderParameter

from gateway.demo.backend.catalog import Catalog

Owner: TypeAlias = Annotated[str, HeaderParameter(name="X-Gateway-Owner")]
NamedProject: TypeAlias = Annotated[str | None, HeaderParameter(name="X-Gateway-Project")]
SharedCatalog: TypeAlias = NamedDependency[Catalog]


def readable(path: str) -> route:
    """Return a route for GET and HEAD: Litestar's `get` answers HEAD with 405."""
    return route(path, http_method=[HttpMethod.GET, HttpMethod.HEAD])
