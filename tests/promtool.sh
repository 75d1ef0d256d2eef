#!/usr/bin/env bash
# Has promtool judge the alert rules of contrib/prometheus, run their tests, and judge /metrics of a
# running daemon and the queries of the dashboard.
#
#   tests/promtool.sh          all of it; ends with an error if anything is wrong
#   tests/promtool.sh --find   prints where promtool is; ends with 1 if it cannot be had
#
# PROMTOOL   the binary; else the one in PATH; else that of the package `prometheus`, which
#            apt-get downloads into target/promtool, where it is kept and not installed
set -euo pipefail
cd "$(dirname "$0")/.."

find_promtool() {
    local kept=target/promtool
    if [[ -n ${PROMTOOL:-} ]]; then
        echo "$PROMTOOL"
    elif command -v promtool; then
        return 0
    elif [[ -x $kept/usr/bin/promtool ]]; then
        echo "$PWD/$kept/usr/bin/promtool"
    elif command -v apt-get dpkg > /dev/null && mkdir -p "$kept" &&
        (cd "$kept" && timeout 120 apt-get download prometheus && dpkg -x prometheus_*.deb . &&
            rm -f prometheus_*.deb) > "$kept.log" 2>&1 && [[ -x $kept/usr/bin/promtool ]]; then
        echo "$PWD/$kept/usr/bin/promtool"
    else
        return 1
    fi
}

if ! promtool=$(find_promtool); then
    echo "promtool is not installed, and apt-get cannot download it (see target/promtool.log)" >&2
    exit 1
fi
if [[ ${1:-} == --find ]]; then
    echo "$promtool"
    exit 0
fi
"$promtool" check rules contrib/prometheus/outboxd.rules.yml
"$promtool" test rules contrib/prometheus/outboxd.rules.test.yml
PROMTOOL=$promtool cargo test --locked --all-features --test blackbox -- --ignored metrics::promtool_
