#!/usr/bin/env bash
# Records the real daemon under load, with restarts, and looks at the states that a crash
# at any moment could have left behind: kill -9, a power cut, a power cut under ext4.
#
#   tests/crashcheck/run.sh [STATES]      states per trace and mode, 12 if not given;
#                                         600 is the full run
#
# Three recordings: `plain` (load, kills, clean stops, start-ups cut short, an index that
# is deleted, an event larger than a segment), `cleaning` (a short retention, so that
# segments are rewritten and go) and `again` (goes on from what a power cut left).
#
# OUTBOXD_BIN     the binary; else target/release is built
# CRASHCHECK      crashcheck.py; else ../shared/crashcheck/crashcheck.py
# SEED            of the workload and of the states; printed, drawn if not given
# JOBS            states looked at at once, 2 if not given
# KEEP            a directory for the traces and for examples of failing states
# TRACES          which recordings, "plain cleaning again" if not given
#
# Ends with 0 if every state held, or with a word about what is missing.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
crashcheck=${CRASHCHECK:-$root/../shared/crashcheck/crashcheck.py}
states=${1:-12}
seed=${SEED:-$((RANDOM * 32768 + RANDOM))}
jobs=${JOBS:-2}

skip() { echo "crashcheck: SKIPPED, $1"; exit 0; }
[ -f "$crashcheck" ] || skip "there is no $crashcheck (set CRASHCHECK)"
command -v strace > /dev/null || skip "strace is not installed"
command -v python3 > /dev/null || skip "python3 is not installed"
strace -o /dev/null true 2> /dev/null || skip "tracing is not permitted (--cap-add SYS_PTRACE)"

bin=${OUTBOXD_BIN:-}
if [ -z "$bin" ]; then
    (cd "$root" && cargo build --release --locked)
    bin=$root/target/release/outboxd
fi

work=${KEEP:-$(mktemp -d)}
mkdir -p "$work"
[ -n "${KEEP:-}" ] || trap 'rm -rf "$work"' EXIT
failed=0

# record TRACE WORKLOAD BOOT ACKED
record() {
    local dir=$work/$1
    mkdir -p "$dir/side"
    # A driver that is cut short shows why.
    python3 "$crashcheck" record --dir "$dir/data" --out "$dir/trace" -- \
        python3 "$here/record.py" --bin "$bin" --data "$dir/data" --side "$dir/side" \
        --seed "$seed" --workload "$2" --boot "$3" --acked "$4" > "$dir/record.json" || {
        echo "crashcheck: the recording \`$1\` failed"
        cat "$dir/record.json"
        tail -n 20 "$dir/side/stderr" || true
        exit 1
    }
    echo "recorded $1: $(cat "$dir/record.json")"
}

# explore TRACE BOOT MODE [FS]
explore() {
    local dir=$work/$1 fs=${4:-posix} verify
    verify="python3 $here/verify.py --bin $bin --side $dir/side --boot $2 --at-least $acked"
    [ "$1" != cleaning ] || verify+=" --forgets"
    python3 "$crashcheck" explore "$dir/trace" --verify "$verify {dir} {acked}" --states "$states" \
        --seed "$seed" --mode "$3" --fs "$fs" --jobs "$jobs" --keep "$work/failing/$1-$3-$fs" || failed=1
}

echo "crashcheck: SEED=$seed, $states states per trace and mode"
for trace in ${TRACES:-plain cleaning again}; do
    boot=recorded
    acked=0
    if [ "$trace" = again ]; then
        # Goes on from a power cut about two thirds into `plain`, with half of what was
        # pending lost; the next boot of the machine has another id.
        [ -d "$work/plain" ] || record plain plain recorded 0
        mkdir -p "$work/again"
        cut=$(python3 "$crashcheck" show "$work/plain/trace" | awk 'END { print int(NR * 2 / 3) }')
        acked=$(python3 "$crashcheck" materialise "$work/plain/trace" --seed "$seed" \
            --state "$cut:sectors:0" --to "$work/again/data" | sed 's/.*"acked": \([0-9]*\).*/\1/')
        cp -r "$work/plain/side" "$work/again/side"
    fi
    [ "$trace" = again ] && boot=again
    record "$trace" "$trace" "$boot" "$acked"
    explore "$trace" "$boot" process
    explore "$trace" fresh power posix
    explore "$trace" fresh power ext4
done
[ "$failed" = 0 ] || { echo "crashcheck: FAILED, SEED=$seed"; exit 1; }
echo "crashcheck: every state held"
