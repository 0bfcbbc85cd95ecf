"""The operator's overview, and the history of changes within a visitor's reach."""

from collections.abc import Mapping, Sequence

import msgspec
from litestar import Controller, get
from litestar.exceptions import NotFoundException
from litestar.response import Redirect, Template

from gateway.admin.access import READING
from gateway.core.pages.formatting import Service, describe_service, summarize
from gateway.core.policies.model import Policy
from gateway.core.tokens.audit import AuditQuery
from gateway.core.tokens.views import TokenView
from gateway.core.usage import PolicyUsage
from gateway.pages.common import Asking, GivenPages, GivenVisitor, Pages, query_text, see_other

HOURS = 24
BUSIEST = 8


class Overviews(Controller):
    """`/` and `/overview`."""

    @get("/", opt=READING, status_code=303)
    async def start(self, visitor: GivenVisitor) -> Redirect:
        """Redirect an operator to the overview, others to their tokens."""
        return see_other("/overview" if visitor.is_operator else "/tokens")

    @get("/overview", opt=READING)
    async def show(self, pages: GivenPages, visitor: GivenVisitor) -> Template:
        """Show all policies with their state, and a summary of the last day."""
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
            services=await _find_services(pages, policies, usage),
        )


async def _find_services(
    pages: Pages, policies: Sequence[Policy], usage: Mapping[str, PolicyUsage]
) -> dict[str, Service]:
    unreachable = await pages.probe.find_unreachable({policy.name: policy.upstream for policy in policies})
    is_outdated = bool(pages.policy_mistakes())
    return {
        policy.name: describe_service(
            len(policy.upstream.targets), unreachable[policy.name], usage[policy.name], is_outdated=is_outdated
        )
        for policy in policies
    }


class BusyRow(msgspec.Struct, frozen=True):
    """A token with its requests of the last two hours; the view is None if its record is gone."""

    token: str
    requests: int
    view: TokenView | None


async def _find_busiest(pages: Pages) -> list[BusyRow]:
    busiest = await pages.usage.busiest(BUSIEST)
    return [BusyRow(one.token, one.requests, await pages.management.show_token(one.token)) for one in busiest]


LENGTH = 100


class Histories(Controller):
    """`/history`."""

    path = "/history"

    @get(opt=READING)
    async def show(self, request: Asking, pages: GivenPages, visitor: GivenVisitor) -> Template:
        """Show the latest changes, newest first."""
        access = visitor.access
        actor = query_text(request.query_params, "actor")
        query = AuditQuery(policy=access.policy, project=access.project, owner=access.owner, actor=actor)
        entries = await pages.management.search_audit(query, LENGTH)
        return pages.render("history.html", visitor, entries=entries, actor=actor or "")
