#!/usr/bin/env bash
# Builds outboxd_VERSION_ARCH.deb and prints its path.
#
#   contrib/package/build-deb.sh [--binary FILE] [--version VERSION] [--out DIR]
#
# --binary    a release build for this machine; else target/release/outboxd, built if absent
# --version   of the package; else the one of Cargo.toml
# --out       where the package goes; else target/package
#
# This uses dpkg-deb and not cargo-deb: the package is a list of files and four short scripts,
# dpkg-deb is on every Debian machine, and cargo-deb would have to be compiled first. The same
# commit gives the same bytes, if the binary is the same (SOURCE_DATE_EPOCH).
set -euo pipefail
cd "$(dirname "$0")/../.."

binary=
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
out=target/package
while (($#)); do
    case $1 in
        --binary) binary=$2 ;;
        --version) version=$2 ;;
        --out) out=$2 ;;
        *) sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
    esac
    shift 2
done
if [[ -z $binary ]]; then
    binary=${CARGO_TARGET_DIR:-target}/release/outboxd
    [[ -e $binary ]] || cargo build --locked --release --bin outboxd >&2
fi
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
export SOURCE_DATE_EPOCH
arch=$(dpkg --print-architecture)
mkdir -p "$out"
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

# file MODE FROM TO
file() { install -D -m "$1" "$2" "$root/$3"; }

# libc_dependency BINARY: the packages that a dynamic binary needs; nothing for a static one.
libc_dependency() {
    local needed newest
    needed=$(objdump -p "$1" | awk '$1 == "NEEDED" { print $2 }')
    [[ -n $needed ]] || return 0
    newest=$(objdump -T "$1" | grep -o 'GLIBC_[0-9.]*' | sort -Vu | tail -n 1)
    printf 'Depends: libc6 (>= %s)' "${newest#GLIBC_}"
    ! grep -q '^libgcc_s' <<<"$needed" || printf ', libgcc-s1'
    printf '\n'
}

install -d "$root/usr/bin" "$root/DEBIAN"
contrib/package/ship.sh "$binary" "$root/usr/bin/outboxd"
outboxd=$root/usr/bin/outboxd

file 0644 config.example.toml etc/outboxd/outboxd.toml
install -d -m 0700 "$root/etc/outboxd/secrets"
install -d "$root/usr/lib/systemd/system"
sed 's|/usr/local/bin/outboxd|/usr/bin/outboxd|' systemd/outboxd.service \
    > "$root/usr/lib/systemd/system/outboxd.service"
file 0644 systemd/outboxd.socket usr/lib/systemd/system/outboxd.socket

"$outboxd" man "$root/usr/share/man/man1"
gzip -9n "$root"/usr/share/man/man1/*.1
install -d "$root/usr/share/bash-completion/completions" \
    "$root/usr/share/zsh/vendor-completions" "$root/usr/share/fish/vendor_completions.d"
"$outboxd" completions bash > "$root/usr/share/bash-completion/completions/outboxd"
"$outboxd" completions zsh > "$root/usr/share/zsh/vendor-completions/_outboxd"
"$outboxd" completions fish > "$root/usr/share/fish/vendor_completions.d/outboxd.fish"

doc=usr/share/doc/outboxd
# Pages link to one another by their places in the repository.
find README.md ARCHITECTURE.md CONTRIBUTING.md CHANGELOG.md LICENSE-* config.example.toml docs -type f \
    | while IFS= read -r page; do
        file 0644 "$page" "$doc/$page"
    done
gzip -9nc CHANGELOG.md > "$root/$doc/changelog.gz"
{
    cat LICENSE
    printf '\n\n--- MIT\n\n'
    cat LICENSE-MIT
    printf '\n\n--- Apache-2.0\n\n'
    cat LICENSE-APACHE
} > "$root/$doc/copyright"

for script in postinst prerm postrm; do
    file 0755 "contrib/package/debian/$script" "DEBIAN/$script"
done
echo /etc/outboxd/outboxd.toml > "$root/DEBIAN/conffiles"
(cd "$root" && find etc usr -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum > DEBIAN/md5sums)
{
    cat <<CONTROL
Package: outboxd
Version: $version
Architecture: $arch
Maintainer: The outboxd authors <outboxd@localhost>
Installed-Size: $(du -sk --exclude=DEBIAN "$root" | cut -f 1)
CONTROL
    libc_dependency "$outboxd"
    cat <<'CONTROL'
Recommends: ca-certificates
Suggests: systemd
Section: net
Priority: optional
Description: durable webhook outbox
 outboxd accepts events over HTTP, makes them durable, signs them as Standard
 Webhooks, and delivers each to every endpoint that wants it, with retries for
 days. What could not be delivered is kept and can be replayed.
CONTROL
} > "$root/DEBIAN/control"

chmod -R u+rwX,go+rX,go-w "$root"
chmod 0700 "$root/etc/outboxd/secrets"
package=$out/outboxd_${version}_$arch.deb
dpkg-deb --root-owner-group -Zxz --build "$root" "$package" >&2
echo "$package"
