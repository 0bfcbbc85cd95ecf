#!/bin/sh
# Run a command with the programs that the tests need: redis-server, curl and openssl, the proxies that ask the gateway,
# and a browser. If some are missing, ask on the terminal whether to install them; INSTALL=1 answers yes. Without a
# terminal install nothing. GATEWAY_TEST_WITHOUT tells the command which programs are missing in the end.
set -eu

# Packages of Debian have the names of their programs. Traefik and Envoy come as Python packages, with their programs in
# the virtual environment $VENV.
DEBIAN="redis-server curl openssl nginx caddy haproxy chromium"
WHEELS="traefik envoy"
PATH="$PATH${VENV:+:$VENV/bin}"

missing() {
    for program in "$@"; do
        if [ "$program" = chromium ] && command -v google-chrome >/dev/null 2>&1; then
            continue
        fi
        command -v "$program" >/dev/null 2>&1 || printf ' %s' "$program"
    done
}

# Print those of the missing programs that this script can install here.
installable() {
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        missing $DEBIAN
    fi
    if [ -n "${VENV:-}" ]; then
        missing $WHEELS
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
        case " $WHEELS " in
            *" $program "*) continue ;;
        esac
        echo "Installing $program with apt-get."
        [ -n "$is_updated" ] || apt-get update -qq
        is_updated=1
        apt-get install -y -qq --no-install-recommends "$program" >/dev/null || echo "apt-get cannot install $program."
    done
    if [ -n "$(missing $WHEELS)" ] && [ -n "${VENV:-}" ]; then
        echo "Installing$(missing $WHEELS) with pip."
        "$VENV/bin/python" tools/install.py "$VENV" proxies || echo "pip cannot install them on this platform."
    fi
}

programs=$(installable)
if [ -n "$programs" ] && may_install "$programs"; then
    # shellcheck disable=SC2086 # a list
    install_all $programs
fi

left=$(missing $DEBIAN $WHEELS)
if [ -n "$left" ]; then
    echo "LEFT OUT: the tests that need$left. To run them, install these programs:"
    echo "  Debian, as root: make test INSTALL=1"
    echo "  macOS: brew install redis curl openssl nginx caddy haproxy traefik envoy; brew install --cask chromium"
    export GATEWAY_TEST_WITHOUT="$left"
fi

exec "$@"
