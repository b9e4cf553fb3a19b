#!/usr/bin/env bash
# Environments of the peers that cannot share mlcalc's own:  bash tests/benchmarks/make_environments.sh FOLDER
set -euo pipefail
folder=${1:?usage: make_environments.sh FOLDER}
mkdir -p "$folder"
for peer in jax schnetpack; do
  python3 -m venv "$folder/$peer"
  "$folder/$peer/bin/pip" install --quiet "$peer" numpy
done
