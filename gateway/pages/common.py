"""What all pages have in common: what they are given, how a template is filled, who may ask for them.

Style sheet, scripts and icons: read once, and kept by browsers until their content changes.

Addresses of a product's API, as those who pull from it write them.
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
"""RFC 8246: the address changes with the content."""

_CONTENTS = {file.name: file.read_bytes() for file in sorted(FOLDER.iterdir()) if file.suffix in TYPES}
_VERSIONS = {name: hashlib.sha256(content).hexdigest()[:12] for name, content in _CONTENTS.items()}


def asset_address(name: str) -> str:
    """Where a page finds the file in its present version."""
    return f"{ADDRESS}/{_VERSIONS[name]}/{name}"


@get(ADDRESS + "/{version:str}/{name:str}", sync_to_thread=False)
def show_asset(version: FromPath[str], name: FromPath[str]) -> Response[bytes]:
    """One file. Under another version's address it is given too, for pages that are just being replaced."""
    if name not in _CONTENTS:
        raise NotFoundException
    kept = FOR_A_YEAR if version == _VERSIONS[name] else "no-cache"
    return Response(_CONTENTS[name], media_type=TYPES[Path(name).suffix], headers={"Cache-Control": kept})


HERE = Path(__file__).parent
SECURE_COOKIE = "__Host-gateway"
"""The prefix has browsers insist on Secure, on this very host, and on the whole of it (RFC 6265bis 4.1.3.2)."""
COOKIE = "gateway"
"""Where the listener is spoken to without TLS, on the loopback interface."""

ADMIN_TITLE = "management API"
"""What pages call the policy of admin tokens, which has no name."""
_PARTS = re.compile(r"(?<=[^/:])/(?=[^/])|\?|&amp;")

Asking = Request[Any, Any, Any]


class SignInNeeded(Exception):
    """Nobody is signed in."""


class ForgedForm(Exception):
    """A form that this session's pages did not send."""


class Probe(Protocol):
    """Who looks whether backends are there."""

    async def find_unreachable(self, upstreams: Mapping[str, Upstream]) -> dict[str, list[str]]:
        """Why which targets cannot be connected to, by the names of the upstreams."""
        ...


class Pages:
    """What the handlers of all pages work with. `clock` gives Unix seconds; `listen` is that of the public listener."""

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
        """The policies of the moment."""
        return self.policies.current

    def policy(self, name: str) -> Policy:
        """The policy of a name, the admin tokens' own included; NotFoundException where there is none."""
        found = ADMIN if name == ADMIN.name else self.set.policies.get(name)
        if found is None:
            raise NotFoundException("There is no such policy.")
        return found

    def render(self, template: str, visitor: Visitor | None, status: int = 200, **context: Any) -> Template:
        """A page. What is in it is for one visitor at one moment, so nobody may store it."""
        filled_in = {"visitor": visitor, "now": int(self.clock()), **context}
        return Template(template, context=filled_in, status_code=status, headers={"Cache-Control": "no-store"})

    async def token(self, visitor: Visitor, identity: str) -> TokenView:
        """A token within the visitor's access; NotFoundException where there is none."""
        view = await self.management.show_token(identity)
        if view is None or not visitor.access.covers(view.record):
            raise NotFoundException("There is no such token.")
        return view


GivenPages = NamedDependency[Pages]
GivenVisitor = NamedDependency[Visitor]
GivenForm = NamedDependency[FormMultiDict]
"""What handlers ask for by name."""


def origin_of(request: Asking, trusted: TrustedProxies) -> Origin:
    """Whose browser it is and whether it speaks TLS, as far as proxies are trusted to tell it."""
    peer = plain_address(request.client.host) if request.client else ""
    return find_origin(list(request.scope["headers"]), peer, request.scope["scheme"], trusted)


def session_of(request: Asking) -> str:
    """The cookie of a session, by either name; empty where there is none."""
    return request.cookies.get(SECURE_COOKIE) or request.cookies.get(COOKIE) or ""


async def find_visitor(request: Asking, pages: GivenPages) -> Visitor:
    """Who asks; SignInNeeded where nobody is signed in, PermissionDeniedException for who may not have the page.

    A page asks for the scope that the management API asks for the same (admin/access.py).
    """
    visitor = await pages.visitors.find(session_of(request), origin_of(request, pages.trusted).client)
    if visitor is None:
        raise SignInNeeded
    if not visitor.may(request.route_handler.opt[SCOPE]):
        lacks = "it lacks the scope write" if visitor.is_operator else "it was made by another token"
        raise PermissionDeniedException(f"The token you signed in with is for looking only: {lacks}.")
    return visitor


async def read_form(request: Asking, visitor: GivenVisitor) -> FormMultiDict:
    """What was sent with one of the session's own forms; ForgedForm for any other."""
    form = await request.form()
    if is_foreign(request.headers) or not is_form_token(text_of(form, "form_token"), visitor.session_id):
        raise ForgedForm
    return form


def text_of(form: FormMultiDict, name: str) -> str:
    """A field of a form, without the white space around it; empty where it is missing, or a file."""
    value = form.get(name)
    return value.strip() if isinstance(value, str) else ""


def see_other(path: str, **query: str) -> Redirect:
    """To another page, by GET (RFC 9110 15.4.4)."""
    return Redirect(f"{path}?{urlencode(query)}" if query else path, status_code=303)


def said(query: Mapping[str, str], name: str) -> str | None:
    """A text of the address; None where it is missing or empty."""
    return query.get(name, "").strip() or None


def build_templates() -> TemplateConfig[JinjaTemplateEngine]:
    """Jinja's, where everything is escaped and a name that a template misspells is an error."""
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
    """The address, escaped, with places where a line may break: before what a reader takes for a part of its own."""
    return Markup(_PARTS.sub("<wbr>\\g<0>", str(escape(url))))  # noqa: S704 - escaped just now


def base_url(pages: Pages, policy: Policy) -> str:
    """Where the product's API is: its host, or the public listener where any host will do."""
    return f"https://{policy.hosts[0]}" if policy.hosts else f"http://{pages.listen}"


def find_example(pages: Pages, policy: Policy, record: TokenRecord) -> tuple[str, str]:
    """The URL of something that the token may read, its project filled in, and the extension of a file to keep it in.

    An export if there is one; the extension is empty where nobody knows what comes.
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
