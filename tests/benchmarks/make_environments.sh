#!/usr/bin/env bash
# Environments of the peers that cannot share mlcalc's own:  bash tests/benchmarks/make_environments.sh FOLDER
# SchNetPack 2.2 needs Python 3.12 or newer: PYTHON312 names it (default: python3.12). Without it that peer is left out.
set -euo pipefail
folder=${1:?usage: make_environments.sh FOLDER}
mkdir -p "$folder"

make() {  # name, interpreter, packages…
  local name=$1 python=$2
  shift 2
  "$python" -m venv "$folder/$name"
  "$folder/$name/bin/pip" install --quiet "$@"
}

make jax python3 jax numpy
make schnetpack python3 schnetpack==2.1.1 numpy
make mace python3 symmetrix-xl symmetrix-xl-cpu-avx512 mace-torch setuptools || echo "MACE and symmetrix: left out" >&2
python312=${PYTHON312:-python3.12}
if "$python312" --version; then
  make schnetpack-2.2 "$python312" 'schnetpack>=2.2' numpy
else
  echo "SchNetPack 2.2: left out, no Python 3.12" >&2
fi
