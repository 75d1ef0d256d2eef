#!/usr/bin/env bash
# Builds a static binary and prints its path: it runs on any Linux of this architecture, and in an
# image without anything else.
#
#   contrib/package/build-musl.sh
#
# Needs the target (rustup target add x86_64-unknown-linux-musl) and musl-gcc (Debian's musl-tools)
# for the parts in C. Ends with 3, and says why, where they are missing.
set -euo pipefail
cd "$(dirname "$0")/../.."

case $(uname -m) in
    x86_64) target=x86_64-unknown-linux-musl ;;
    aarch64) target=aarch64-unknown-linux-musl ;;
    *) echo "musl: SKIPPED, there is no target for $(uname -m)" >&2; exit 3 ;;
esac
if ! command -v musl-gcc > /dev/null; then
    echo "musl: SKIPPED, musl-gcc is not installed (apt-get install musl-tools)" >&2
    exit 3
fi
if [[ ! -d $(rustc --print sysroot)/lib/rustlib/$target ]]; then
    echo "musl: SKIPPED, the target is not installed (rustup target add $target)" >&2
    exit 3
fi
export "CC_${target//-/_}=musl-gcc"
cargo build --locked --release --bin outboxd --target "$target" >&2
built=${CARGO_TARGET_DIR:-target}/$target/release/outboxd
if objdump -p "$built" | grep -q NEEDED; then
    echo "$built is not static" >&2
    exit 1
fi
echo "$built"
