"""Every mistake that a policy file can make: the bad file of that name, and what is told of it."""

from pathlib import Path

import pytest

from gateway.core.errors import ConfigurationError
from gateway.core.policies.loading import load_policies

FILES = Path(__file__).parents[2] / "data" / "policies"
GOOD = (FILES / "good.toml").read_text(encoding="utf-8")
MISTAKES = {
    "bad_cache_group_braces": [
        "$.rules[0].cache.groups[0]: 'set-{set': braces are for a parameter of the path, such as tokenset-{tokenset}",
        "$.rules[0].cache.groups[1]: '{Set}': braces are for a parameter of the path, such as tokenset-{tokenset}",
    ],
    "bad_cache_group_parameter": ["$.rules[0].cache.groups[0]: unknown parameter 'sett': did you mean 'set'?"],
    "bad_cache_heuristic": ["$.rules[0].cache.heuristic: with fresh given there is nothing to guess: drop one of them"],
    "bad_quota_both": ["$.quotas.pull: write one of limit and concurrent"],
    "bad_quota_concurrent": [
        "$.quotas.pull: concurrent counts the requests in flight: it has no algorithm and no burst"
    ],
    "bad_quota_concurrent_nothing": [
        "$.quotas.pull.concurrent: Expected `int` >= 1",
        "$.quotas.pull: write one of limit and concurrent",
    ],
    "bad_quota_per": ["$.quotas.pull.per: Invalid enum value 'team'"],
    "bad_quota_per_owner": [
        "$.quotas.pull.per: the policy's tokens are bound to their project and need have no owner",
        "$.rules[0].quotas.many.per: the policy's tokens are bound to their project and need have no owner",
    ],
    "bad_quota_public": [
        '$.rules[0].quotas.pull: a public rule asks for no token, so its requests can only be counted per = "address"'
    ],
    "bad_quota_of_rule": [
        "$.rules[0].quotas.minute: a quota of all rules is named 'minute' already",
        "$.rules[1].quotas.many: 'many' means another quota in the rule 'GET /**': give one of them another name",
    ],
    "bad_cost_key": ["$.rules[0].cost.mis: unknown key 'mis': did you mean 'miss'?"],
    "bad_cost_field": ["$.rules[0].cost.reported_by: 'X Cost' is not a field name, such as X-Request-Cost"],
    "bad_cost_never_fits": ["$.rules[0].cost: 6 never fits into the quota 'pull' of 5"],
    "bad_credential": [
        "$.token.credential: 'cookie:session' is no credential: "
        'write "bearer", "basic" or "header:NAME", such as "header:X-API-Key"'
    ],
    "bad_credential_twice": ["$.token.credential: the same credential is listed twice"],
    "bad_error_format_key": [
        "$.errors.402: unknown status or reason '402': did you mean '502'?",
        "$.errors.revoked: unknown status or reason 'revoked': did you mean 'revoked_token'?",
    ],
    "bad_duration": ["$.rules[0].cache.fresh: '1 minute' is not a whole number and s, m, h, d or w: 10m"],
    "bad_etag_key": [
        "$.rules[0].etag.ignores: unknown key 'ignores': did you mean 'ignore'?",
        "$.rules[0].etag.replace: Expected `bool`, got `str`",
    ],
    "bad_etag_notation": [
        *(
            f"$.rules[0].etag.ignore[{index}]: {text!r} names nothing to ignore: write a JSON pointer, such as "
            "/generatedAt, or column:..., line:..., element:..., attribute:..."
            for index, text in enumerate(["generatedAt", "", "columns:Seen"])
        ),
        "$.rules[0].etag.ignore[3]: 'column:' does not say which column",
        "$.rules[0].etag.ignore[4]: '<at>' is not the name of an XML element: "
        "write it as in the file, with or without prefix",
    ],
    "bad_etag_pointer": [
        "$.rules[0].etag.ignore[1]: '/a~b' is not a JSON pointer: a ~ in it is written ~0, a / in a name ~1"
    ],
    "bad_etag_without_cache": ["$.rules[0].etag: only what is cached gets a tag here: give the rule a cache table too"],
    "bad_hosts_empty": ["$.hosts: Expected `array` of length >= 1"],
    "bad_missing_key": ["$.token: the key 'prefixes' is missing"],
    "bad_missing_match": ["$.rules[0]: the key 'match' is missing"],
    "bad_misspelled_inner_key": ["$.rules[0].cache.frehs: unknown key 'frehs': did you mean 'fresh'?"],
    "bad_misspelled_key": [
        "$.upsteam: unknown key 'upsteam': did you mean 'upstream'?",
        "$: the key 'upstream' is missing",
    ],
    "bad_name": ["$.name: 'Shop' is not a lower-case name, such as tokencraft"],
    "bad_name_with_line_break": ["$.name: 'shop\\n' is not a lower-case name, such as tokencraft"],
    "bad_no_rules": ["$.rules: Expected `array` of length >= 1"],
    "bad_not_toml": ["$: not TOML: Expected ']]' at the end of an array declaration (at line 5, column 8)"],
    "bad_pattern_dots": [
        "$.rules[0].match: no request can have the path '/items/../admin': "
        "write it decoded, without dot or empty segments"
    ],
    "bad_pattern_empty_segment": [
        "$.rules[0].match: no request can have the path '/items//**': write it decoded, without dot or empty segments"
    ],
    "bad_pattern_encoded": ["$.rules[0].match: 'a%2Fb' in '/a%2Fb': write the segment decoded"],
    "bad_pattern_method": ['$.rules[0].match: \'get\' is no method: write "GET /path", "GET,POST /path" or "* /path"'],
    "bad_pattern_no_method": [
        '$.rules[0].match: \'/items\' is no method: write "GET /path", "GET,POST /path" or "* /path"'
    ],
    "bad_pattern_no_path": ['$.rules[0].match: the path \'items\' must begin with "/": write "GET /path"'],
    "bad_pattern_parameter": [
        "$.rules[0].match: '{item}.json' in '/items/{item}.json': a parameter is a whole segment, such as /{project}/"
    ],
    "bad_pattern_parameter_twice": ["$.rules[0].match: the path '/{id}/{id}' names a parameter twice"],
    "bad_pattern_wildcard": ["$.rules[0].match: '*' in '/items/*/export': only a last /** is a wildcard"],
    "bad_pattern_wildcard_inside": ["$.rules[0].match: '**' in '/**/export': only a last /** is a wildcard"],
    "bad_quota": [
        "$.quotas.pull: '100/fortnight' is not a rate limit: "
        'write a number, "/" or "per", and second, minute, hour, day, month or year, such as "100/minute"'
    ],
    "bad_quota_algorithm": ["$.quotas.pull.algorithm: Invalid enum value 'leaky-bucket'"],
    "bad_quota_burst": [
        "$.quotas.pull: burst is for token-bucket only, this is moving-window",
        "$.quotas.plain: burst is for token-bucket only, this is fixed-window",
    ],
    "bad_quota_burst_nothing": ["$.quotas.pull.burst: Expected `int` >= 1"],
    "bad_quota_burst_of_several": ["$.quotas.pull: burst is for one limit: give each limit its own name"],
    "bad_quota_burst_too_slow": [
        "$.quotas.pull: a burst of 100000000 takes too long to fill at this limit: above 999999999999 seconds"
    ],
    "bad_quota_cost_above_burst": ["$.rules[0].cost: 6 never fits into the quota 'pull' of 5"],
    "bad_quota_key": [
        "$.quotas.pull.limt: unknown key 'limt': did you mean 'limit'?",
        "$.quotas.pull: write one of limit and concurrent",
    ],
    "bad_quota_never_fills": [
        "$.quotas.pull: a token bucket that never fills admits nothing: its limit must be above 0"
    ],
    "bad_quota_too_large_to_log": [
        "$.quotas.pull: moving-window counts limits up to 100000 only: "
        "take another algorithm, such as sliding-window-counter"
    ],
    "bad_quota_type": ["$.quotas.pull: Expected `str | object`, got `int`"],
    "bad_quota_name": ["$.plans.free.quotas.Pull: the quota name 'Pull' must match [a-z][a-z0-9_-]*"],
    "bad_quota_named_twice": ["$.quotas.pull-second: another quota is named 'pull-second' already"],
    "bad_quota_too_large": [
        "$.quotas.pull: '1000000000000/day' is too much to count: neither number nor window may be above 999999999999"
    ],
    "bad_same_requests": [
        "$.rules[1].match: 'POST /items/{id}' and 'GET,POST /items/{item}' of shop match the same requests"
    ],
    "bad_scope_name": ["$.scopes['read all']: 'read all' is not a scope-token of RFC 6749 3.3, such as projects:read"],
    "bad_project": ["$.rules[0].project: the path of 'GET /items/{item}' has no parameter {project}"],
    "bad_public": [
        "$.rules[0].public: a public rule asks for no token, so it can ask for no scopes and no project of one"
    ],
    "bad_public_cache": [
        "$.rules[0].cache.shared_by: the requests of a public rule come without a token and have no token"
    ],
    "bad_manage": ["$.rules[0].manage: Invalid enum value 'lsit'"],
    "bad_manage_public": [
        "$.rules[0].manage: a rule with manage is answered by the gateway: it can be neither public, cached nor shaped",
        "$.rules[1].manage: a rule with manage is answered by the gateway: it can be neither public, cached nor shaped",
    ],
    "bad_manage_token": [
        "$.rules[0].manage: manage = 'delete' names its token in the path",
        "$.rules[1].token: manage = 'list' names no token in the path",
        "$.rules[2].token: the path of 'PUT /keys/{key}' has no parameter {id}",
        "$.rules[3].token: only a rule with manage is about a token in its path",
    ],
    "bad_management": [
        "$.management.fields.nmae: unknown field 'nmae': did you mean 'name'?",
        "$.management.errors.name_token: unknown code 'name_token': did you mean 'name_taken'?",
        "$.management.integers[0]: unknown field 'ids': did you mean 'id'?",
        "$.management.fields: two fields have the same name",
    ],
    "bad_management_shape": [
        "$.management.fields.scopes: 'a b' is not up to 64 letters, digits and underscores",
        "$.management.errors.invalid.status: Expected `int` <= 499",
    ],
    "bad_unbound": [
        "$.quotas.team.per: the policy's tokens are bound to nothing and need have no owner",
        "$.token.own_plans: the policy has no plans that a token could have",
        "$.rules[0].cache.shared_by: the policy's tokens are bound to nothing and need have no project",
        "$.rules[1].manage: manage = 'list' is about tokens of one project or owner: these are bound to neither",
    ],
    "bad_shared_by": ["$.rules[0].cache.shared_by: Invalid enum value 'everybody'"],
    "bad_test_fails": [
        "$.tests[0]: 'GET /items' gets 403 (insufficient_scope), expected 200",
        "$.tests[1]: 'GET /items' gets 200 (passes), expected 403",
    ],
    "bad_test_plan": ["$.tests[0].plan: unknown plan 'fre': did you mean 'free'?"],
    "bad_test_scope": ["$.tests[0].scopes[1]: unknown scope 'wirte': did you mean 'write'?"],
    "bad_test_status": ["$.tests[0].expect: Expected `int` <= 599"],
    "bad_token_too_short": [
        "$.token.length: 160 random bits need at least 33 characters after the prefix, this has 32"
    ],
    "bad_type": ["$.rules[0].cost: Expected `int | object`, got `str`"],
    "bad_unknown_implied_scope": ["$.scopes.write.implies[0]: unknown scope 'raed': did you mean 'read'?"],
    "bad_unknown_scope_in_plan": ["$.plans.free.scopes[1]: unknown scope 'delete': known are read, write"],
    "bad_unknown_scope_in_rule": ["$.rules[0].scopes[0]: unknown scope 'raed': did you mean 'read'?"],
    "bad_upstream": [
        "$.upstream: '127.0.0.1:9001' is not a URL of scheme http or https, host, port and an optional path prefix, "
        "or unix: and a path"
    ],
    "bad_upstream_assertion": [
        "$.upstream.assertion.audience: Expected `str` of length >= 1",
        "$.upstream.assertion.issuer: unknown key 'issuer': known are audience",
        "$.upstream.new_trace: Invalid enum value 'maybe'",
    ],
    "bad_upstream_both": ["$.upstream: name one target as `url`, or several as `targets`"],
    "bad_upstream_fields": [
        "$.upstream.request_headers.set.X_Gateway_Owner: X_Gateway_Owner says who asks: only the gateway may",
        "$.upstream.request_headers.set.Host: Host is what the gateway itself says",
        "$.upstream.request_headers.remove[0]: Connection is about one connection, not about the message",
        "$.upstream.response_headers.set.RateLimit: RateLimit is what the gateway itself says",
        "$.upstream.response_headers.remove[0]: Content-Length is about one connection, not about the message",
    ],
    "bad_cost_reported_by": [
        "$.rules[0].cost.reported_by: X-Gateway-Cost is the gateway's to say: backends' answers lose it first"
    ],
    "bad_upstream_host": ["$.upstream.host: app.example:99999 has a port above 65535"],
    "bad_upstream_pass_fields": [
        "$.upstream.pass_fields[0]: X_Gateway_Owner says who asks: only the gateway may",
        "$.upstream.pass_fields[1]: X-Forwarded-For is what the gateway itself says, or about one connection: "
        "it cannot pass",
        "$.upstream.pass_fields[2]: unknown field 'x-real-ipp': did you mean 'x-real-ip'? "
        "Other fields pass without being named",
    ],
    "bad_upstream_field_value": [
        "$.upstream.request_headers.set.X-A: 'a\\r\\nb' is not a field value: printable ASCII, no spaces around"
    ],
    "bad_upstream_key": ["$.upstream.retry: unknown key 'retry': did you mean 'retries'?"],
    "bad_upstream_rewrite": [
        "$.upstream.rewrite: no request can have such a path: write it without dot or empty segments, "
        "the prefix decoded"
    ],
    "bad_upstream_targets": ["$.upstream.targets[1]: http://a:1 is a target already"],
    "bad_upstream_times": [
        "$.upstream.idle_timeout: no backend can do anything in no time",
        "$.upstream.health: interval and timeout must be above 0",
    ],
    "bad_rule_times": [
        "$.rules[0].response_timeout: no backend can do anything in no time",
        "$.rules[1].idle_timeout: no backend can do anything in no time",
    ],
    "bad_upstream_tls": [
        "$.upstream.tls: no target is of scheme https",
        "$.upstream.tls.key: a key is of no use without its certificate",
    ],
    "bad_bundle": [
        "$.bundles.Reader: 'Reader' is not a lower-case name, such as tokencraft",
        "$.bundles.Reader.scopes: Expected `array` of length >= 1",
        "$.bundles.writer.scope: unknown key 'scope': did you mean 'scopes'?",
        "$.bundles.writer: the key 'description' is missing",
        "$.bundles.writer: the key 'scopes' is missing",
    ],
    "bad_bundle_scope": ["$.bundles.reader.scopes[1]: unknown scope 'raed': did you mean 'read'?"],
    "bad_scope_alias": [
        "$.scopes.write.aliases[0]: 'read' is a scope itself",
        "$.scopes.write.aliases[2]: 'change' is an alias of 'write' already",
        "$.scopes.admin.aliases[0]: 'change' is an alias of 'write' already",
        "$.scopes.admin.aliases[1]: 'admin' is a scope itself",
    ],
    "bad_scope_category": ["$.scopes.read.category: Expected `str` of length >= 1"],
    "bad_token_parent_scope": ["$.token.parent_scope: unknown scope 'children:create': did you mean 'child:create'?"],
    "bad_token_sign_in_scope": ["$.token.sign_in_scope: unknown scope 'tokens': did you mean 'token'?"],
    "bad_token_shown": ["$.token: write one of shown and shown_random"],
    "bad_variants_document": [
        "$.rules[0].variants.document: Invalid enum value 'texts'",
    ],
    "bad_variants_method": [
        "$.rules[0].variants: variants are for GET, and this rule is for GET, POST",
    ],
    "bad_variants_names": [
        "$.rules[0].variants.names.entires: unknown field 'entires': did you mean 'entries'?",
        "$.rules[0].variants.names.key: 'a..b' is no name of a field, nor names with dots between them",
    ],
    "bad_variants_names_collide": [
        "$.rules[0].variants.names: 'meta' cannot be a field and an object with fields",
    ],
    "bad_variants_option_case": [
        "$.rules[0].variants.options.lang: ignore_case needs the values, as they say how each is spelled",
        "$.rules[0].variants.options.status: with ignore_case two of the values are the same",
    ],
    "bad_variants_option_default": [
        "$.rules[0].variants.options.format: the default 'xml' is not one of the values",
        "$.rules[0].variants.options.pretty: the default is one value",
        "$.rules[0].variants.options.lang: the default is one value",
    ],
    "bad_variants_option_name": [
        "$.rules[0].variants.options['lang[]']: 'lang[]' is not up to 24 letters, digits, - and _",
    ],
    "bad_variants_option_parameter": [
        "$.rules[0].variants.options.mode: the rule's path has no parameter {mode}",
        "$.rules[0].variants.options.format: an option in the path is always there: it has no default",
    ],
    "bad_variants_option_several": [
        "$.rules[0].variants.options.shape: several is for lang and status: shape is always one value",
    ],
    "bad_variants_option_status": [
        "$.rules[0].variants.options.status: name the values: a status that no entry has at the "
        "moment is no mistake of a request",
    ],
    "bad_variants_option_unknown": [
        "$.rules[0].variants.options.locale: 'locale' is no setting: say which one it sets, such "
        'as sets = "format"; known are format, shape, pretty, bom, key, lang, status',
        "$.rules[0].variants.options.mode: a document of translations has no mode to choose",
        "$.rules[0].variants.options.form: the option 'shape' sets shape already",
    ],
    "bad_variants_option_values": [
        "$.rules[0].variants.options.format: unknown value of format 'yml': did you mean 'yaml'?",
        "$.rules[0].variants.options.lang: a value is listed twice",
        "$.rules[0].variants.options.status: 'in review' cannot be a value: letters, digits and _ . @ - can",
        "$.rules[0].variants.options.shape: a list of no values allows none",
    ],
    "bad_variants_source": [
        "$.rules[0].variants.source: the path of 'GET /items/{item}/export' has no parameter {project}",
        "$.rules[0].variants.filename: the path of 'GET /items/{item}/export' has no parameter {name}",
    ],
    "bad_variants_source_path": [
        "$.rules[0].variants.source: 'http://127.0.0.1/x' is not a path and query in ASCII",
    ],
    "bad_variants_types": [
        "$.rules[0].variants.types.spacing: unknown type 'dimensions': did you mean 'dimension'?",
    ],
    "bad_variants_types_of_texts": [
        "$.rules[0].variants.types: a document of translations has no types",
    ],
}


def mistakes_in(texts: dict[str, str]) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as refused:
        load_policies(texts)
    return refused.value.mistakes
