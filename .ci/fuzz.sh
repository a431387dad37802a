#!/usr/bin/env bash
# Compares a single node with PostgreSQL, both of their own: `fuzz.sh CONCLAVE SEED SECONDS`.
# Exit code 1: something differs that is not meant to.
set -euo pipefail

conclave=$1 seed=$2 seconds=$3
. "$(dirname "$0")/with-postgres.sh"

sql=$(free_port) rpc=$(free_port) http=$(free_port)
"$conclave" start-single --insecure --data "$folder-node" --sql "127.0.0.1:$sql" \
	--rpc "127.0.0.1:$rpc" --http "127.0.0.1:$http" >"$folder-node.log" 2>&1 &
node=$!
stop_both() {
	kill "$node" 2>/dev/null || true
	wait "$node" 2>/dev/null || true
	rm -rf "$folder-node" "$folder-node.log"
	stop_postgres
}
trap stop_both EXIT
for _ in $(seq 300); do
	grep -q '^ready' "$folder-node.log" && break
	sleep 0.1
done

"$conclave" fuzz --url "postgres://conclave@127.0.0.1:$sql/conclave" \
	--against "postgres://conclave@127.0.0.1:$port/conclave" --seed "$seed" --seconds "$seconds"
