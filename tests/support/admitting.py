"""Admissions outside a gateway: what it would find for a token."""

import asyncio
from collections.abc import Sequence

from gateway.adapters.redis.admissions import RedisAdmissions
from gateway.adapters.redis.connection import RedisConnection, open_client
from gateway.core.admission.decision import AdmissionFacts, AdmissionRequest
from gateway.core.tokens.text import digest
from tests.support.policies import rule_for


def admit(url: str, texts: Sequence[str]) -> list[AdmissionFacts]:
    """What is found, and charged, for a request to /export with each of the tokens, one after the other."""

    async def admit_all() -> list[AdmissionFacts]:
        connection = RedisConnection(open_client(url, 5), 5)
        admissions = RedisAdmissions(connection)
        try:
            return [
                await admissions.admit(AdmissionRequest(rule_for("GET /export"), digest(text, b""))) for text in texts
            ]
        finally:
            await connection.close()

    return asyncio.run(admit_all())
