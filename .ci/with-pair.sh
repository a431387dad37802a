# Sourced, with $conclave: a single node and a PostgreSQL of their own on loopback; both end with the script.
# Afterwards $ours and $theirs are their URLs.

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
ours=postgres://conclave@127.0.0.1:$sql/conclave
theirs=postgres://conclave@127.0.0.1:$port/conclave
