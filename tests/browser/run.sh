#!/usr/bin/env bash
# Drives the operator's pages in a real browser: each journey of tests/browser/journeys, and on every
# page what has to hold everywhere (watch.js). Screenshots are left in target/browser/screens.
#
#   tests/browser/run.sh [BINARY] [JOURNEY...]     BINARY: else target/debug/outboxd, built if absent;
#                                                  JOURNEY: the name of a file without .js, else all
#
# CHROMIUM           the browser; else the one in PATH; else Debian's, which apt-get installs for root
# BROWSER_TIMEOUT    seconds for the journeys together, else 900
# CARGO_TARGET_DIR   is heeded.
#
# npm keeps playwright-core and axe-core, in the versions of package-lock.json, in
# target/browser/node_modules. Ends with 77 if there is no browser or no node.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
kept=$root/target/browser

skip() {
    echo "browser: SKIPPED, $1"
    exit 77
}

find_chromium() {
    local name
    if [[ -n ${CHROMIUM:-} ]]; then
        echo "$CHROMIUM"
        return 0
    fi
    for name in chromium chromium-browser google-chrome; do
        command -v "$name" && return 0
    done
    if [[ $(id -u) == 0 ]] && command -v apt-get > /dev/null &&
        DEBIAN_FRONTEND=noninteractive timeout -k 5 600 apt-get install --yes \
            --no-install-recommends chromium > "$kept/apt.log" 2>&1; then
        command -v chromium
        return
    fi
    return 1
}

# What is installed already, in the versions of the lock file, needs no registry.
install_modules() {
    cmp --silent "$here/package-lock.json" "$kept/package-lock.json" &&
        [[ -d $kept/node_modules/playwright-core && -d $kept/node_modules/axe-core ]] && return 0
    cp "$here/package.json" "$kept/"
    cp "$here/package-lock.json" "$kept/lock.new"
    rm -f "$kept/package-lock.json"
    (cd "$kept" && mv lock.new package-lock.json &&
        timeout -k 5 300 npm ci --ignore-scripts --no-audit --no-fund > "$kept/npm.log" 2>&1) && return 0
    rm -f "$kept/package-lock.json"
    return 1
}

mkdir -p "$kept"
node=$(command -v node) || skip "node is not installed"
(($("$node" --print 'process.versions.node.split(".")[0]') >= 20)) || skip "node is older than 20"
command -v npm > /dev/null || skip "npm is not installed"
chromium=$(find_chromium) || skip "there is no chromium, and apt-get cannot install it"
install_modules || skip "npm cannot install playwright-core and axe-core (see target/browser/npm.log)"

binary=${1:-}
if [[ -z $binary ]]; then
    binary=${CARGO_TARGET_DIR:-$root/target}/debug/outboxd
    [[ -x $binary ]] || (cd "$root" && cargo build --locked)
else
    shift
fi
binary=$(realpath "$binary")

rm -rf "$kept/screens"
# A proxy is nothing to loopback, and what a page asks of another host must not get there.
exec env -u http_proxy -u https_proxy -u HTTP_PROXY -u HTTPS_PROXY -u ALL_PROXY -u all_proxy \
    NODE_PATH="$kept/node_modules" CHROMIUM="$chromium" OUTBOXD="$binary" SCREENS="$kept/screens" \
    timeout -k 10 "${BROWSER_TIMEOUT:-900}" "$node" "$here/main.js" "$@"
