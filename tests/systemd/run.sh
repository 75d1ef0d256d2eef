#!/usr/bin/env bash
# outboxd.service and outboxd.socket under a real systemd, which is the first process of namespaces
# of its own: start, credentials, status, reload, restart under load, watchdog, stop. What each step
# has to show is in scenario.py.
#
# The root is this machine's root under an overlay in memory, so nothing of it stays. There is no
# network but the loopback interface of the namespace.
#
# OUTBOXD_BIN     the binary; else target/release/outboxd
# CARGO_TARGET_DIR is heeded.
#
# Ends with 0 if all held, with 1 if not, and with 77 if systemd cannot run here.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
# Of the whole scenario, in seconds.
patience=240

skip() {
    echo "systemd: SKIPPED, $1"
    exit 77
}

# The part that runs in the namespaces, and becomes systemd. WORK has the binary.
inside() {
    local work=$1
    mount -t tmpfs -o mode=0755 scratch "$work/scratch"
    mkdir "$work/scratch/upper" "$work/scratch/work" "$work/scratch/root"
    local scratch=$work/scratch/root
    mount -t overlay overlay -o "lowerdir=/,upperdir=$work/scratch/upper,workdir=$work/scratch/work" "$scratch"
    mount -t proc proc "$scratch/proc"
    mount -t sysfs sysfs "$scratch/sys"
    mount -t cgroup2 cgroup2 "$scratch/sys/fs/cgroup"
    mount --rbind /dev "$scratch/dev"
    mount -t tmpfs run "$scratch/run"
    # Of this machine's own services none is started.
    rm -rf "$scratch"/etc/systemd/system
    mkdir -p "$scratch/etc/systemd/system" "$scratch/etc/outboxd" "$scratch/mnt"
    mount --bind "$work" "$scratch/mnt"
    install -m 0755 "$work/outboxd" "$scratch/usr/local/bin/outboxd"
    install -m 0644 "$root/systemd/outboxd.service" "$root/systemd/outboxd.socket" "$scratch/etc/systemd/system"
    cat > "$scratch/etc/systemd/system/trial.service" << END
[Unit]
Description=What outboxd has to show
[Service]
Type=oneshot
Environment=PYTHONDONTWRITEBYTECODE=1
ExecStart=$(command -v python3) /mnt/scenario.py
StandardOutput=file:/mnt/said
StandardError=file:/mnt/said
TimeoutStartSec=$patience
ExecStopPost=/bin/systemctl --force exit
END
    # As systemd has it where it boots the machine: the mounts of services, such as that of
    # credentials, are made in namespaces of their own and reach the others.
    mount --make-rshared "$scratch"
    exec env -i container=outboxd PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot "$scratch" \
        /lib/systemd/systemd --system --unit=trial.service --show-status=false < /dev/null
}

if [[ ${1:-} == --inside ]]; then
    inside "$2"
fi

[[ $(id -u) == 0 ]] || skip "it needs root"
for tool in unshare chroot python3 systemctl; do
    command -v "$tool" > /dev/null || skip "$tool is not installed"
done
[[ -x /lib/systemd/systemd ]] || skip "systemd is not installed"
hierarchy=$(findmnt --noheadings --first-only --output TARGET --types cgroup2) || skip "there is no cgroup2"

work=$(mktemp -d)
group=$hierarchy/outboxd-trial-$$
trap 'rm -rf "$work"; rmdir "$group" 2> /dev/null || true' EXIT
mkdir "$work/scratch"
mkdir "$group" 2> "$work/why" || skip "no control group: $(tail -n 1 "$work/why")"
bin=${OUTBOXD_BIN:-${CARGO_TARGET_DIR:-$root/target}/release/outboxd}
cp "$bin" "$work/outboxd"
cp "$here/scenario.py" "$root/tests/harness/traffic.py" "$work/"

# In its group, so that systemd sees that group as the root of all.
namespaced() {
    # The group is left with the end of the process.
    bash -c 'echo $$ > "$1/cgroup.procs" && shift && exec "$@"' bash "$group" \
        timeout --signal KILL "$patience" \
        unshare --mount --net --pid --fork --kill-child --uts --ipc --cgroup "$@"
}

namespaced bash -c '
    cd "$1" && mount -t tmpfs try scratch && mkdir scratch/{u,w,r} &&
    mount -t overlay try -o lowerdir=/,upperdir=scratch/u,workdir=scratch/w scratch/r &&
    mount -t sysfs try scratch/r/sys && mount -t cgroup2 try scratch/r/sys/fs/cgroup
' bash "$work" 2> "$work/why" || skip "no overlay or control groups in namespaces: $(tail -n 1 "$work/why")"

namespaced "$0" --inside "$work" || true
if [[ ! -e $work/said ]]; then
    skip "systemd did not start the trial"
fi
cat "$work/said"
[[ $(tail -n 1 "$work/said") == "systemd: all held" ]]
