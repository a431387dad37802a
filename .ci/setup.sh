#!/usr/bin/env bash
# Installs the Debian packages that building (or benchmarking) needs, only those that are missing.
# On other systems it says what is needed and goes on.
set -euo pipefail

case "${1:-build}" in
build) needs=(protoc:protobuf-compiler g++:g++) packages=() ;;
bench) needs=(pgbench:postgresql-contrib) packages=() ;;
*) echo "usage: setup.sh build|bench" >&2; exit 2 ;;
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
[ ${#packages[@]} -gt 0 ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
	echo "Please install what provides: ${packages[*]} (names as in Debian)" >&2
	exit 0
fi
sudo=()
[ "$(id -u)" = 0 ] || sudo=(sudo)
echo "Installing ${packages[*]}"
"${sudo[@]}" apt-get update -qq
DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -y -qq "${packages[@]}" >/dev/null
