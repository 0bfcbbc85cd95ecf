"""The common parts of all pages: dependencies, templates, access, static files, and addresses of a product's API.

Style sheet, scripts and icons are read once, and browsers keep them until their content changes.
"""

import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import Request, Response, get
from litestar.datastructures import FormMultiDict
from litestar.di import NamedDependency
from litestar.exceptions import NotFoundException, PermissionDeniedException
from litestar.params import FromPath
from litestar.plugins.jinja import JinjaTemplateEngine
from litestar.response import Redirect, Template
from litestar.template import TemplateConfig
from markupsafe import Markup, escape

from gateway.adapters.admin_ports import Tokens, Usage
from gateway.adapters.ports import PolicySource
from gateway.admin.access import SCOPE
from gateway.core.durability import Readiness
from gateway.core.http.client_address import Origin, TrustedProxies, find_origin, plain_address
from gateway.core.http.fields import build_timestamp
from gateway.core.pages.export_urls import default_extension
from gateway.core.pages.formatting import (
    build_bars,
    describe_action,
    describe_changes,
    describe_day,
    describe_distance,
    describe_moment,
    describe_number,
    describe_share,
    last_day,
)
from gateway.core.pages.sessions import is_form_token
from gateway.core.policies.model import Policy, PolicySet, Rule, Upstream
from gateway.core.tokens.admin_tokens import ADMIN
from gateway.core.tokens.records import TokenRecord
from gateway.core.tokens.views import TokenView
from gateway.management import Management
from gateway.pages.sessions import Visitor, Visitors, is_foreign

FOLDER = Path(__file__).parent / "static"
TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
ADDRESS = "/static"
FOR_A_YEAR = "public, max-age=31536000, immutable"
"""The address changes with the content (RFC 8246)."""

_CONTENTS = {file.name: file.read_bytes() for file in sorted(FOLDER.iterdir()) if file.suffix in TYPES}
_VERSIONS = {name: hashlib.sha256(content).hexdigest()[:12] for name, content in _CONTENTS.items()}


def asset_address(name: str) -> str:
    """Return the address of the file in its current version."""
    return f"{ADDRESS}/{_VERSIONS[name]}/{name}"


@get(ADDRESS + "/{version:str}/{name:str}", sync_to_thread=False)
def show_asset(version: FromPath[str], name: FromPath[str]) -> Response[bytes]:
    """Return one file, also under the address of another version, for pages that are just being replaced."""
    if name not in _CONTENTS:
        raise NotFoundException
    kept = FOR_A_YEAR if version == _VERSIONS[name] else "no-cache"
    return Response(_CONTENTS[name], media_type=TYPES[Path(name).suffix], headers={"Cache-Control": kept})


HERE = Path(__file__).parent
SECURE_COOKIE = "__Host-gateway"
"""The prefix makes browsers require Secure, this very host, and the whole of it (RFC 6265bis 4.1.3.2)."""
COOKIE = "gateway"
"""The name of the cookie if the listener is used without TLS, on the loopback interface."""

ADMIN_TITLE = "management API"
"""The title of the policy of admin tokens, which has no name."""
_PARTS = re.compile(r"(?<=[^/:])/(?=[^/])|\?|&amp;")

Asking = Request[Any, Any, Any]


class SignInNeeded(Exception):
    """No visitor is signed in."""


class ForgedForm(Exception):
    """A form that did not come from this session's pages."""


class Probe(Protocol):
    """The check whether backends are reachable."""

    async def find_unreachable(self, upstreams: Mapping[str, Upstream]) -> dict[str, list[str]]:
        """Return why targets cannot be reached, by the names of the upstreams."""
        ...


class Pages:
    """The context of the handlers of all pages. `clock` gives Unix seconds; `listen` is that of the public listener."""

    def __init__(
        self,
        *,
        visitors: Visitors,
        management: Management,
        tokens: Tokens,
        usage: Usage,
        policies: PolicySource,
        policy_mistakes: Callable[[], tuple[str, ...]],
        check_readiness: Callable[[], Awaitable[Readiness]],
        clock: Callable[[], float],
        random_text: Callable[[], str],
        trusted: TrustedProxies,
        listen: str,
        probe: Probe,
    ) -> None:
        self.visitors = visitors
        self.management = management
        self.tokens = tokens
        self.usage = usage
        self.policies = policies
        self.policy_mistakes = policy_mistakes
        self.check_readiness = check_readiness
        self.clock = clock
        self.random_text = random_text
        self.trusted = trusted
        self.listen = listen
        self.probe = probe

    @property
    def set(self) -> PolicySet:
        """The current policies."""
        return self.policies.current

    def policy(self, name: str) -> Policy:
        """Return the policy of a name, including the admin tokens' own. Raise NotFoundException if there is none."""
        found = ADMIN if name == ADMIN.name else self.set.policies.get(name)
        if found is None:
            raise NotFoundException("There is no such policy.")
        return found

    def render(self, template: str, visitor: Visitor | None, status: int = 200, **context: Any) -> Template:
        """Return a page. It is for one visitor at one moment, so no cache may store it."""
        filled_in = {"visitor": visitor, "now": int(self.clock()), **context}
        return Template(template, context=filled_in, status_code=status, headers={"Cache-Control": "no-store"})

    async def token(self, visitor: Visitor, identity: str) -> TokenView:
        """Return a token within the visitor's access. Raise NotFoundException if there is none."""
        view = await self.management.show_token(identity)
        if view is None or not visitor.access.covers(view.record):
            raise NotFoundException("There is no such token.")
        return view


GivenPages = NamedDependency[Pages]
GivenVisitor = NamedDependency[Visitor]
GivenForm = NamedDependency[FormMultiDict]
"""The named dependencies of handlers."""


def origin_of(request: Asking, trusted: TrustedProxies) -> Origin:
    """Return whose browser it is and whether it uses TLS, as far as trusted proxies report it."""
    peer = plain_address(request.client.host) if request.client else ""
    return find_origin(list(request.scope["headers"]), peer, request.scope["scheme"], trusted)


def session_of(request: Asking) -> str:
    """Return the cookie of a session, by either name; empty if there is none."""
    return request.cookies.get(SECURE_COOKIE) or request.cookies.get(COOKIE) or ""


async def find_visitor(request: Asking, pages: GivenPages) -> Visitor:
    """Return who asks. Raise SignInNeeded without a session, or PermissionDeniedException if the page is not allowed.

    A page needs the scope that the management API needs for the same (admin/access.py).
    """
    visitor = await pages.visitors.find(session_of(request), origin_of(request, pages.trusted).client)
    if visitor is None:
        raise SignInNeeded
    if not visitor.may(request.route_handler.opt[SCOPE]):
        lacks = "it lacks the scope write" if visitor.is_operator else "it was made by another token"
        raise PermissionDeniedException(f"The token you signed in with is for looking only: {lacks}.")
    return visitor


async def read_form(request: Asking, visitor: GivenVisitor) -> FormMultiDict:
    """Return the content of one of the session's own forms. Raise ForgedForm for any other."""
    form = await request.form()
    if is_foreign(request.headers) or not is_form_token(text_of(form, "form_token"), visitor.session_id):
        raise ForgedForm
    return form


def text_of(form: FormMultiDict, name: str) -> str:
    """Return a field of a form, without the white space around it; empty if it is missing, or a file."""
    value = form.get(name)
    return value.strip() if isinstance(value, str) else ""


def see_other(path: str, **query: str) -> Redirect:
    """Redirect to another page, by GET (RFC 9110 15.4.4)."""
    return Redirect(f"{path}?{urlencode(query)}" if query else path, status_code=303)


def query_text(query: Mapping[str, str], name: str) -> str | None:
    """Return a text of the address, or None if it is missing or empty."""
    return query.get(name, "").strip() or None


def build_templates() -> TemplateConfig[JinjaTemplateEngine]:
    """Build Jinja's configuration: everything is escaped, and a misspelled name in a template is an error."""
    templates = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {
        "ago": describe_distance,
        "moment": describe_moment,
        "day": describe_day,
        "last_day": last_day,
        "iso": lambda seconds: build_timestamp(seconds).decode(),
        "action": describe_action,
        "changes": describe_changes,
        "breakable": _breakable,
        "policy_title": lambda name: name or ADMIN_TITLE,
        "bars": build_bars,
        "share": describe_share,
        "number": describe_number,
    }
    templates.globals |= {"asset": asset_address}
    return TemplateConfig(instance=JinjaTemplateEngine.from_environment(templates))


def _breakable(url: str) -> Markup:
    """Return the address, escaped, with places where a line may break: before each part of it."""
    return Markup(_PARTS.sub("<wbr>\\g<0>", str(escape(url))))  # noqa: S704 - escaped just now


def base_url(pages: Pages, policy: Policy) -> str:
    """Return the address of the product's API: its host, or the public listener if any host will do."""
    return f"https://{policy.hosts[0]}" if policy.hosts else f"http://{pages.listen}"


def find_example(pages: Pages, policy: Policy, record: TokenRecord) -> tuple[str, str]:
    """Return a URL that the token may read, with its project filled in, and the extension of a file for it.

    It is an export if there is one; the extension is empty if the type is unknown.
    """
    rules = [rule for rule in pages.set.rules_of(policy.name) if _may_read(rule)]
    rules.sort(key=lambda rule: (rule.variants is None, rule.cache is None, rule.pattern.matches_below))
    if not rules:
        return base_url(pages, policy) + "/", ""
    return base_url(pages, policy) + _path_of(rules[0], record), default_extension(rules[0].variants)


def _may_read(rule: Rule) -> bool:
    return not rule.is_public and ("GET" in rule.pattern.methods or "*" in rule.pattern.methods)


def _path_of(rule: Rule, record: TokenRecord) -> str:
    segments = [
        quote(record.project, safe="") if index == rule.project_segment and record.project else segment
        for index, segment in enumerate(rule.pattern.segments)
    ]
    return "/" + "/".join(segments)
