#!/usr/bin/env bash
# Compares a single node with PostgreSQL, both of their own: `fuzz.sh CONCLAVE SEED SECONDS`.
# The same statements come three times, a third of the time each: as they are, by plans alone, and by plans
# that look the rows of joins up wherever an index fits.
# Exit code 1: something differs that is not meant to.
set -euo pipefail

conclave=$1 seed=$2 seconds=$3
. "$(dirname "$0")/with-pair.sh"

status=0
plans=-c%20row_execution%3Doff
for options in "" "?options=$plans" "?options=$plans%20-c%20enable_hashjoin%3Doff"; do
	"$conclave" fuzz --url "$ours$options" --against "$theirs" --seed "$seed" --seconds $((seconds / 3)) || status=1
done
exit "$status"
