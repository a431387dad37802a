#!/usr/bin/env bash
# Compares a single node with PostgreSQL, both of their own: `fuzz.sh CONCLAVE SEED SECONDS`.
# Exit code 1: something differs that is not meant to.
set -euo pipefail

conclave=$1 seed=$2 seconds=$3
. "$(dirname "$0")/with-pair.sh"

"$conclave" fuzz --url "$ours" --against "$theirs" --seed "$seed" --seconds "$seconds"
