"""Leak reports: tokens that GitHub's secret scanning has found in public are revoked, with all that was made with them.

Rule: what a policy says (`on_leak`) decides. A report proves who sent it by a signature, and nothing of it is believed
before; it never makes anything but a revocation or an alert.
"""

import logging
from collections.abc import Sequence
from typing import Protocol

from gateway.adapters.ports import PolicySource
from gateway.core.leaks.reports import MAXIMUM_PLACE, LeakFeedback, LeakReport, build_feedback
from gateway.core.tokens.audit import Actor
from gateway.core.tokens.records import TokenRecord
from gateway.management.alerting import Alerting, AlertMarks
from gateway.management.management import Management

ACTOR = Actor("GitHub secret scanning", "system")

logger = logging.getLogger(__name__)


class SignatureCheck(Protocol):
    """Verifies the signatures of reports: adapters/outside/leak_signatures.py."""

    async def is_signed(self, content: bytes, identifier: str, signature: str) -> bool:
        """Return whether the key of this identifier has signed the content. Raise IssuerUnavailable."""
        ...


class LeakReports:
    """Acts on leak reports. `alerting` is None if operators have no webhook."""

    def __init__(
        self, management: Management, policies: PolicySource, marks: AlertMarks, alerting: Alerting | None
    ) -> None:
        self._management = management
        self._policies = policies
        self._marks = marks
        self._alerting = alerting

    async def take_reports(self, reports: Sequence[LeakReport]) -> list[LeakFeedback]:
        """Act on reports whose signature was verified, and return which are real. Raise StoreUnavailable."""
        return [await self._take_one(report) for report in reports]

    async def _take_one(self, report: LeakReport) -> LeakFeedback:
        view = await self._management.find_presented(report.token)
        if view is not None:
            await self._act(view.record, report)
        return build_feedback(report, is_token=view is not None)

    async def _act(self, record: TokenRecord, report: LeakReport) -> None:
        """Revoke a token first: whatever else fails, nobody can use it any more."""
        policy = self._policies.current.policies.get(record.policy)
        revoked: list[str] | None = None
        if policy is None or policy.revokes_leaked:  # an admin token, or one of a policy that is gone
            revoked = await self._management.revoke_with_made(ACTOR, record.identity)
        await self._marks.mark_leaked(record.identity)
        logger.warning(
            "leak report: token %s of the policy %s was found at %s: %s",
            record.identity,
            record.policy or "of admin tokens",
            report.url[:MAXIMUM_PLACE],
            "nothing is revoked, as the policy says" if revoked is None else f"{len(revoked)} tokens are revoked",
        )
        if self._alerting is not None:
            await self._alerting.report_leak(record, report.url[:MAXIMUM_PLACE], report.source, revoked)
