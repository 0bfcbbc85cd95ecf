"""The operator's overview."""

from litestar import Controller, get
from litestar.exceptions import NotFoundException
from litestar.response import Redirect, Template

from gateway.web.pages.parts import GivenPages, GivenVisitor, see_other


class Overviews(Controller):
    """`/` and `/overview`."""

    @get("/", status_code=303)
    async def start(self, visitor: GivenVisitor) -> Redirect:
        """An operator begins with the overview, others with their tokens."""
        return see_other("/overview" if visitor.is_operator else "/tokens")

    @get("/overview")
    async def show(self, pages: GivenPages, visitor: GivenVisitor) -> Template:
        """All policies and how they are."""
        if not visitor.is_operator:
            raise NotFoundException("There is nothing of yours at this address.")
        policies = [pages.set.policies[name] for name in sorted(pages.set.policies)]
        return pages.render("overview.html", visitor, policies=policies, mistakes=pages.policy_mistakes())
