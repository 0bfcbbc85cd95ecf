"""The builder of export addresses (row K10)."""

from urllib.parse import urlencode

from litestar import Controller, get
from litestar.response import Template

from gateway.admin.access import READING
from gateway.core.pages.export_urls import build, build_snippets
from gateway.core.policies.model import Rule
from gateway.pages.common import Asking, GivenPages, GivenVisitor, Pages, base_url
from gateway.pages.sessions import Visitor
from gateway.pages.token_list import visible_policies

MAXIMUM_FIELDS = 100


class ExportBuilder(Controller):
    """`/exports`."""

    path = "/exports"

    @get(opt=READING)
    async def show(self, request: Asking, pages: GivenPages, visitor: GivenVisitor) -> Template:
        """Show the form as it is filled in so far, the address, and a sample."""
        query = request.query_params
        rules = find_rules(pages, visitor)
        rule = next((one for one in rules if name_of(one) == query.get("rule")), rules[0] if rules else None)
        if rule is None or rule.variants is None:
            return pages.render("exports_none.html", visitor)
        asked = {name: query.getall(name) for name in list(query)[:MAXIMUM_FIELDS] if name.startswith(("o.", "p."))}
        built = build(rule, rule.variants, asked, visitor.access.project or "")
        url = base_url(pages, rule.policy) + built.target
        chosen = {field.key: ",".join(field.chosen) for field in built.fields}
        chosen |= {parameter.key: parameter.value for parameter in built.parameters}
        return pages.render(
            "exports.html",
            visitor,
            rule=rule,
            rules=[(name_of(one), one) for one in rules],
            built=built,
            url=url,
            snippets=build_snippets(rule.policy, url, built.extension),
            address=f"/exports?{urlencode({'rule': name_of(rule), **chosen})}",
        )


def find_rules(pages: Pages, visitor: Visitor) -> list[Rule]:
    """Return the rules with options whose exports the visitor's tokens may pull."""
    names = visible_policies(pages, visitor)
    return [rule for name in names for rule in pages.set.rules_of(name) if rule.variants is not None]


def name_of(rule: Rule) -> str:
    """Return the name of a rule in an address."""
    return f"{rule.policy.name} {rule.pattern.text}"
