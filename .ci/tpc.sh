#!/usr/bin/env bash
# TPC-H or TPC-C on a single node and on PostgreSQL, both of their own: `tpc.sh CONCLAVE tpch|tpcc FLAG…`.
# Exit code 1: an answer differs, or a consistency condition does not hold.
set -euo pipefail

conclave=$1 which=$2
shift 2
. "$(dirname "$0")/with-pair.sh"

"$conclave" "$which" --url "$ours" --against "$theirs" "$@"
