#!/usr/bin/env bash
# running, success or failed: what Grid Engine says of one job. A job that has left the queue is in the accounting,
# which is written some seconds later; one that never shows up there counts as failed.
set -uo pipefail
for _ in 1 2 3 4 5 6; do
    if qstat -j "$1" >/dev/null 2>&1; then
        echo running
        exit
    fi
    if ended=$(qacct -j "$1" 2>/dev/null); then
        grep -Eq '^failed +0' <<<"$ended" && grep -Eq '^exit_status +0' <<<"$ended" && echo success || echo failed
        exit
    fi
    sleep 5
done
echo failed
