#!/usr/bin/env bash
# Makes what is published of a version, in dist/:
#
#   outboxd_VERSION_ARCH.deb              the Debian package
#   outboxd-VERSION-TARGET.tar.gz         the static binary with units, manual pages, completions
#   outboxd-VERSION.cdx.json              what it is made of (CycloneDX)
#   SHA256SUMS                            of all of them
#
#   contrib/package/release.sh [--deb-binary FILE] [--static-binary FILE]
#
# The binaries are built where they are not given. Where a static one cannot be built, the archive
# is left out, and this says so.
set -euo pipefail
cd "$(dirname "$0")/../.."

deb_binary=
static_binary=
while (($#)); do
    case $1 in
        --deb-binary) deb_binary=$2 ;;
        --static-binary) static_binary=$2 ;;
        *) sed -n '2,12s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
    esac
    shift 2
done
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
export SOURCE_DATE_EPOCH
target=$(uname -m)-unknown-linux-musl
rm -rf dist
mkdir dist

contrib/package/build-deb.sh ${deb_binary:+--binary "$deb_binary"} --out dist > /dev/null

status=0
[[ -n $static_binary ]] || static_binary=$(contrib/package/build-musl.sh) || status=$?
if ((status == 3)); then
    echo "release: there is no static archive" >&2
elif ((status)); then
    exit "$status"
else
    name=outboxd-$version-$target
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    mkdir -p "$work/$name/completions"
    contrib/package/ship.sh "$static_binary" "$work/$name/outboxd"
    "$work/$name/outboxd" man "$work/$name/man"
    for shell in bash zsh fish; do
        "$work/$name/outboxd" completions "$shell" > "$work/$name/completions/outboxd.$shell"
    done
    cp -r systemd config.example.toml README.md ARCHITECTURE.md CONTRIBUTING.md CHANGELOG.md LICENSE* docs "$work/$name/"
    chmod -R u+rwX,go+rX,go-w "$work/$name"
    tar --create --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" \
        --directory "$work" "$name" | gzip -9n > "dist/$name.tar.gz"
fi

contrib/package/sbom.py "$target" > "dist/outboxd-$version.cdx.json"
cd dist
sums=$(LC_ALL=C sha256sum -- *)
printf '%s\n' "$sums" | tee SHA256SUMS
