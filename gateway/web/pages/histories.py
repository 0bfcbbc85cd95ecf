"""The history of changes, for what a visitor reaches."""

from litestar import Controller, get
from litestar.response import Template

from gateway.core.audit import AuditQuery
from gateway.web.admin.access import READING
from gateway.web.pages.parts import Asking, GivenPages, GivenVisitor, said

LENGTH = 100


class Histories(Controller):
    """`/history`."""

    path = "/history"

    @get(opt=READING)
    async def show(self, request: Asking, pages: GivenPages, visitor: GivenVisitor) -> Template:
        """The latest changes, newest first."""
        reach = visitor.reach
        actor = said(request.query_params, "actor")
        query = AuditQuery(policy=reach.policy, project=reach.project, owner=reach.owner, actor=actor)
        entries = await pages.management.search_audit(query, LENGTH)
        return pages.render("history.html", visitor, entries=entries, actor=actor or "")
