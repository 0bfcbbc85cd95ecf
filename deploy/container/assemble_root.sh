#!/bin/sh
# Puts Python, the gateway and the libraries that they load into an empty root, and nothing else: no shell, no package
# manager. The last stage of the Dockerfile is this root; tests/system/test_container.py makes it without an engine.
#
#   assemble_root.sh PYTHON SITE ROOT    an interpreter, a folder of installed packages, an empty folder
set -eu
python=$1 site=$2 root=$3
version=$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
standard=$("$python" -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')
library=$root/usr/local/lib/$version

mkdir -p "$root/usr/local/bin" "$library" "$root/etc/ssl/certs" "$root/etc/gateway/policies" "$root/run" "$root/tmp"
chmod 1777 "$root/tmp"
cp -L "$("$python" -c 'import os, sys; print(os.path.realpath(sys.executable))')" "$root/usr/local/bin/python3"

# The standard library without its tests, its editor, its installers and its build files.
(cd "$standard" && tar --sort=name -cf - --exclude=__pycache__ --exclude=./test --exclude=./idlelib --exclude=./lib2to3 \
    --exclude=./ensurepip --exclude=./tkinter --exclude=./turtledemo --exclude=./site-packages --exclude=./dist-packages \
    --exclude='./config-*' --exclude='_tkinter*' --exclude='_test*' --exclude='*.a' .) | tar -C "$library" -xf -
mkdir -p "$library/site-packages"
(cd "$site" && tar --sort=name -cf - --exclude=__pycache__ --exclude=./bin .) | tar -C "$library/site-packages" -xf -

find "$root" -name '*.so*' -type f -exec strip --strip-unneeded {} + 2>/dev/null

# What they load, at the place where they look for it.
{ echo "$root/usr/local/bin/python3"; find "$library" -name '*.so'; } | xargs ldd 2>/dev/null |
    sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p; s/^[[:space:]]*\(\/[^ ]*ld-linux[^ ]*\) .*/\1/p' | sort -u | while read -r needed; do
    case $needed in "$root"/*) continue ;; esac
    mkdir -p "$root$(dirname "$needed")"
    [ -e "$root$needed" ] || cp -L "$needed" "$root$needed"
done

cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
echo 'gateway:x:10001:10001:gateway:/:/nonexistent' > "$root/etc/passwd"
echo 'gateway:x:10001:' > "$root/etc/group"
echo 'hosts: files dns' > "$root/etc/nsswitch.conf"

# Compiled once, as the root is read-only; by content, so that the same files make the same image.
"$python" -m compileall -q -j 0 --invalidation-mode unchecked-hash -s "$root" "$library/site-packages/gateway" \
    "$library/site-packages/litestar" "$library/site-packages/uvicorn" "$library/site-packages/redis" \
    "$library/site-packages/msgspec" "$library/site-packages/click" "$library/asyncio" "$library/importlib"
find "$root" -exec touch -h -d "@${SOURCE_DATE_EPOCH:-0}" {} +
