"""The gateway without its admissions: what a token is found to be the first time is taken as true for ever.

What it costs less than the gateway itself is what an admission costs. Run as `uvicorn benchmarks.unguarded:app`.
"""

import asyncio

from gateway import app as composition
from gateway.adapters.redis.admissions import RedisAdmissions
from gateway.adapters.redis.connection import RedisConnection
from gateway.core.admission.decision import AdmissionFacts, AdmissionRequest
from gateway.core.recognition.lesson import Answered


class RememberedAdmissions(RedisAdmissions):
    """Asks Redis once for each token, and again only while there is no stored export yet."""

    def __init__(self, connection: RedisConnection) -> None:
        super().__init__(connection)
        self._known: dict[str, asyncio.Future[AdmissionFacts]] = {}

    def admit(self, asked: AdmissionRequest, answered: Answered | None = None) -> "asyncio.Future[AdmissionFacts]":
        """Return what was found the first time."""
        known = self._known.get(asked.digest)
        if known is None or (known.done() and not known.result().stored_heads):
            known = self._known[asked.digest] = super().admit(asked, answered)
        return known


setattr(composition, "RedisAdmissions", RememberedAdmissions)  # noqa: B010 - mypy knows that it is not exported
app = composition.create_app()
