#!/usr/bin/env bash
# Runs sql-tests, and what is kept of TPC-H and TPC-C, against a PostgreSQL of its own: on loopback, in a
# temporary folder, gone afterwards.
set -euo pipefail

cargo=${1:-cargo}
. "$(dirname "$0")/with-postgres.sh"

POSTGRES_PORT=$port "$cargo" test --workspace --test suite -- --ignored on_postgresql
