#!/usr/bin/env bash
# The Debian package in a scratch root: install, start as the unit would, deliver, upgrade under
# load with socket activation, remove, install again, purge. What each step has to show is in
# scenario.py.
#
# The scratch root is this machine's root under an overlay in memory, in namespaces of its own,
# so that dpkg, its dependencies and its triggers are the real ones and nothing of it stays. What
# the package leaves behind after a purge is what is left in the overlay.
#
# OUTBOXD_BIN     a release build; else target/release/outboxd, built if absent
# CARGO_TARGET_DIR is heeded.
#
# Ends with 0 if all held, or with a line that begins with "package: SKIPPED".
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)

skip() {
    echo "package: SKIPPED, $1"
    exit 0
}

# The part that runs in the namespaces. WORK has the packages.
inside() {
    local work=$1
    mount -t tmpfs -o mode=0755 scratch "$work/scratch"
    mkdir "$work/scratch/upper" "$work/scratch/work" "$work/scratch/root"
    local scratch=$work/scratch/root
    mount -t overlay overlay -o "lowerdir=/,upperdir=$work/scratch/upper,workdir=$work/scratch/work" "$scratch"
    mount -t proc proc "$scratch/proc"
    mount --rbind /dev "$scratch/dev"
    mount -t tmpfs run "$scratch/run"
    mkdir -p "$scratch/run/package" "$scratch/run/systemd/system"
    cp "$work"/*.deb "$here/scenario.py" "$here/systemctl.py" "$root/tests/harness/traffic.py" \
        "$scratch/run/package/"
    # The trigger of man-db reads the pages of all packages, for a minute.
    rm -f "$scratch/var/lib/man-db/auto-update"
    # Before it in PATH there is no other systemctl.
    install -m 0755 "$here/systemctl.py" "$scratch/usr/local/sbin/systemctl"
    PYTHONDONTWRITEBYTECODE=1 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:$PATH \
        DEBIAN_FRONTEND=noninteractive chroot "$scratch" \
        "$(command -v python3)" /run/package/scenario.py < /dev/null
    # What dpkg and its triggers keep of every package is theirs.
    local left
    left=$(cd "$work/scratch/upper" && find . ! -type d ! -path './var/lib/dpkg/*' ! -path './var/log/*' \
        ! -path './var/cache/*' ! -path './var/lib/man-db/*' ! -path ./usr/local/sbin/systemctl
        find . -iname '*outboxd*' ! -path './var/lib/dpkg/*')
    if [[ -n $left ]]; then
        printf 'package: FAILED, the purge left\n%s\n' "$left"
        exit 1
    fi
    echo "package: the purge left nothing"
}

if [[ ${1:-} == --inside ]]; then
    inside "$2"
    exit
fi

[[ $(id -u) == 0 ]] || skip "it needs root"
for tool in dpkg dpkg-deb objdump strip unshare chroot python3; do
    command -v "$tool" > /dev/null || skip "$tool is not installed"
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/scratch"
unshare --mount --net --pid --fork bash -c '
    cd "$1" && mount -t tmpfs try scratch && mkdir scratch/{u,w,r} &&
    mount -t overlay try -o lowerdir=/,upperdir=scratch/u,workdir=scratch/w scratch/r
' bash "$work" 2> "$work/why" || skip "no overlay in a namespace: $(tail -n 1 "$work/why")"

bin=${OUTBOXD_BIN:-}
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$root/Cargo.toml" | head -n 1)
for of in "$version" "$version+next"; do
    "$root/contrib/package/build-deb.sh" ${bin:+--binary "$bin"} --version "$of" --out "$work"
done
unshare --mount --net --pid --fork --kill-child "$0" --inside "$work"
