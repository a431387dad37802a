#!/usr/bin/env bash
# Compares a single node with PostgreSQL, both of their own: `fuzz.sh CONCLAVE SEED SECONDS`.
# The same statements come twice, half of the time each: as they are, and without row by row execution.
# Exit code 1: something differs that is not meant to.
set -euo pipefail

conclave=$1 seed=$2 seconds=$3
. "$(dirname "$0")/with-pair.sh"

status=0
for url in "$ours" "$ours?options=-c%20row_execution%3Doff"; do
	"$conclave" fuzz --url "$url" --against "$theirs" --seed "$seed" --seconds $((seconds / 2)) || status=1
done
exit "$status"
