# Sourced: starts a PostgreSQL of its own on loopback, in a temporary folder; it ends with the script.
# Afterwards $port is its port and $folder its folder; conclave is its superuser and its database.

bin=${POSTGRES_BIN:-/usr/lib/postgresql/15/bin}
[ -x "$bin/initdb" ] || { echo "PostgreSQL 15 is not in $bin: install it or set POSTGRES_BIN" >&2; exit 2; }

free_port() {
	python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

folder=$(mktemp -d)
port=$(free_port)
as=()
if [ "$(id -u)" = 0 ]; then
	# PostgreSQL refuses to run as root.
	chown postgres "$folder"
	as=(runuser -u postgres --)
fi
stop_postgres() {
	"${as[@]}" "$bin/pg_ctl" -D "$folder/data" -m immediate stop >/dev/null 2>&1 || true
	rm -rf "$folder"
}
trap stop_postgres EXIT

cd "$folder"
"${as[@]}" "$bin/initdb" -D "$folder/data" -U conclave -A trust --locale=C -E UTF8 >/dev/null
options="-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories=$folder -c fsync=off"
"${as[@]}" "$bin/pg_ctl" -D "$folder/data" -o "$options" -l "$folder/log" -w start >/dev/null
"${as[@]}" "$bin/createdb" -h 127.0.0.1 -p "$port" -U conclave conclave
cd - >/dev/null
