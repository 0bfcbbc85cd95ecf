"""Options that several commands share, each also a variable of the environment."""

import click

redis_option = click.option("--redis", "redis_url", envvar="GATEWAY_REDIS_URL", help="URL of the store.")
policies_option = click.option(
    "--policies", envvar="GATEWAY_POLICIES", default="policies", show_default=True, help="Folder of the policy files."
)
pepper_option = click.option("--pepper", envvar="GATEWAY_TOKEN_PEPPER", default="", hidden=True)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
