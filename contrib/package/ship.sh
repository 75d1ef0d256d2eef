#!/usr/bin/env bash
# Copies a built binary as it is shipped: stripped, and at most 15 MiB.
#
#   contrib/package/ship.sh BINARY [TO]
#
# Without TO it only measures.
#
# `cargo build --release` keeps line tables, for profiles and backtraces of a development
# machine. A panic's message names its file and line without them.
set -euo pipefail

limit=$((15 * 1024 * 1024))
binary=$1
scratch=$(mktemp)
trap 'rm -f "$scratch"' EXIT

strip --strip-all --remove-section=.comment -o "$scratch" "$binary"
size=$(stat -c %s "$scratch")
printf '%s: %d bytes stripped, at most %d are allowed\n' "$binary" "$size" "$limit" >&2
if ((size > limit)); then
    echo "the binary is too large: find what made it grow (cargo bloat --release --crates)" >&2
    exit 1
fi
if (($# > 1)); then
    install -m 0755 "$scratch" "$2"
fi
