"""The operator's overview."""

import msgspec
from litestar import Controller, get
from litestar.exceptions import NotFoundException
from litestar.response import Redirect, Template

from gateway.core.pages.summaries import summarize
from gateway.core.token_views import TokenView
from gateway.web.pages.parts import GivenPages, GivenVisitor, Pages, see_other

HOURS = 24
BUSIEST = 8


class Overviews(Controller):
    """`/` and `/overview`."""

    @get("/", status_code=303)
    async def start(self, visitor: GivenVisitor) -> Redirect:
        """An operator begins with the overview, others with their tokens."""
        return see_other("/overview" if visitor.is_operator else "/tokens")

    @get("/overview")
    async def show(self, pages: GivenPages, visitor: GivenVisitor) -> Template:
        """All policies and how they are, and what the last day was like."""
        if not visitor.is_operator:
            raise NotFoundException("There is nothing of yours at this address.")
        policies = [pages.set.policies[name] for name in sorted(pages.set.policies)]
        usage = {policy.name: await pages.usage.policy_usage(policy.name, HOURS) for policy in policies}
        readiness = await pages.check_readiness()
        unmatched = await pages.usage.policy_usage("", HOURS)
        return pages.render(
            "overview.html",
            visitor,
            policies=policies,
            mistakes=pages.policy_mistakes(),
            store=[*readiness.failures.values(), *readiness.warnings],
            usage=usage,
            summary=summarize([*usage.values(), unmatched]),
            busiest=await _find_busiest(pages),
        )


class BusyRow(msgspec.Struct, frozen=True):
    """A token with what it made of the last two hours; the view is None where its record is gone."""

    token: str
    requests: int
    view: TokenView | None


async def _find_busiest(pages: Pages) -> list[BusyRow]:
    busiest = await pages.usage.busiest(BUSIEST)
    return [BusyRow(one.token, one.requests, await pages.management.show_token(one.token)) for one in busiest]
