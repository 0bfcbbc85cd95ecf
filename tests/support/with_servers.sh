#!/bin/sh
# Runs a command with what the tests talk to: redis-server and curl, and openssl for certificates of their own.
#
# On Debian, as root, it installs what is missing. Elsewhere it says what is left out and how to get it, and the tests
# that need redis-server are skipped by name.
set -eu

missing=""
for tool in redis-server curl openssl; do
    command -v "$tool" >/dev/null 2>&1 || missing="$missing $tool"
done

if [ -n "$missing" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing$missing"
    # The tests start servers of their own: the packages must not start any.
    export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
    apt-get update -qq
    # shellcheck disable=SC2086 # a list of packages
    apt-get install -y -qq --no-install-recommends $missing >/dev/null
    missing=""
fi

if [ -n "$missing" ]; then
    echo "LEFT OUT: all tests that need real servers, for want of$missing (Debian: apt install$missing, macOS: brew install redis curl openssl)"
    export GATEWAY_TEST_WITHOUT_REDIS=1
fi

exec "$@"
