"""What handlers are given by their name: see api.py, which provides it."""

from typing import TypeAlias

from litestar.di import NamedDependency

from gateway.adapters.protocols import Exports
from gateway.adapters.usage import Usage
from gateway.core.audit import Actor
from gateway.management import Management

Managing: TypeAlias = NamedDependency[Management]
Exporting: TypeAlias = NamedDependency[Exports]
Counting: TypeAlias = NamedDependency[Usage]
Caller: TypeAlias = NamedDependency[Actor]
"""The admin token that the call presents."""
