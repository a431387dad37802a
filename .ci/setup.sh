#!/usr/bin/env bash
# Installs the Debian packages that building (or benchmarking, or the tests of clients) needs, only those that
# are missing.
# On other systems it says what is needed and goes on.
set -euo pipefail

case "${1:-build}" in
build) needs=(protoc:protobuf-compiler g++:g++) packages=() ;;
bench) needs=(pgbench:postgresql-contrib) packages=() ;;
clients)
	needs=(psql:postgresql-client pgbench:postgresql-contrib node:nodejs java:default-jdk-headless)
	packages=()
	;;
*) echo "usage: setup.sh build|bench|clients" >&2; exit 2 ;;
esac

for need in "${needs[@]}"; do
	tool=${need%%:*} package=${need#*:}
	[ -n "$package" ] || continue
	command -v "$tool" >/dev/null 2>&1 || packages+=("$package")
done
# What bindgen looks for. libclang-cpp is another library, and libclang_rt is none.
if [ "${1:-build}" = build ] &&
	! compgen -G '/usr/lib/llvm-*/lib/libclang.so*' >/dev/null &&
	! compgen -G '/usr/lib/llvm-*/lib/libclang-[0-9]*.so*' >/dev/null; then
	packages+=(libclang-dev)
fi
if [ "${1:-build}" = bench ] && ! ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1; then
	packages+=(postgresql)
fi
if [ "${1:-build}" = clients ]; then
	command -v npm >/dev/null 2>&1 || packages+=(npm)
	[ -e /usr/share/java/postgresql.jar ] || packages+=(libpostgresql-jdbc-java)
	compgen -G '/usr/lib/*/odbc/psqlodbcw.so' >/dev/null || packages+=(odbc-postgresql)
	compgen -G '/usr/lib/*/libodbc.so.2' >/dev/null || packages+=(libodbc2)
	/usr/bin/python3 -c 'import ensurepip' >/dev/null 2>&1 || packages+=(python3-venv)
fi

# Python's and Node's packages for the tests of clients, in the cache folder, anew when the lists change.
libraries() {
	[ "${1:-build}" = clients ] || return 0
	local from=crates/node/tests/clients to="${XDG_CACHE_HOME:-$HOME/.cache}/conclave/clients"
	from="$(cd "$(dirname "$0")/.." && pwd)/$from"
	mkdir -p "$to/node"
	if ! cmp -s "$from/requirements.txt" "$to/requirements.txt"; then
		/usr/bin/python3 -m venv "$to/python"
		"$to/python/bin/pip" install --quiet --disable-pip-version-check -r "$from/requirements.txt"
		cp "$from/requirements.txt" "$to/requirements.txt"
	fi
	if ! cmp -s "$from/package.json" "$to/node/package.json.installed"; then
		cp "$from/package.json" "$to/node/package.json"
		(cd "$to/node" && npm install --silent --no-audit --no-fund >/dev/null)
		cp "$from/package.json" "$to/node/package.json.installed"
	fi
}

if [ ${#packages[@]} -eq 0 ]; then
	libraries "$@"
	exit 0
fi

if ! command -v apt-get >/dev/null 2>&1; then
	echo "Please install what provides: ${packages[*]} (names as in Debian)" >&2
	exit 0
fi
sudo=()
[ "$(id -u)" = 0 ] || sudo=(sudo)
echo "Installing ${packages[*]}"
"${sudo[@]}" apt-get update -qq
DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -y -qq "${packages[@]}" >/dev/null
libraries "$@"
