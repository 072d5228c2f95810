#!/usr/bin/env bash
# All that a GPU can tell of this project, in at most $1 seconds (480): figures in results/gpu/gpu.json, or in the folder $2;
# further words name single sections. Where .venv is not, the packages that are missing come from .gpu/wheels, and
# hippocampus from .gpu/data, as `make gpu-pack` has put them there: that machine needs Python 3.12, torch and no registry.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
limit=${1:-480} out=${2:-results/gpu}
mkdir -p "$out"
export PYTHONUNBUFFERED=1 OMP_NUM_THREADS=1 ATSO_BENCH_DATA=${ATSO_BENCH_DATA:-$out/data}
[ ! -d .gpu/data ] || export ATSO_BENCH_REAL_DATA=${ATSO_BENCH_REAL_DATA:-$PWD/.gpu/data}
[ "${GPU_CHECK_SMALL:-}" = 1 ] || export ATSO_BENCH_TABLE=$out/table.md  # benchmarks take the sizes that are measured
python=${PYTHON:-.venv/bin/python}
site=
if [ ! -x "$python" ]; then
  python=python3 site=$out/site
  "$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target "$site" .gpu/*/*.whl || exit 1
fi
here=$PWD
export PYTHONPATH=${PYTHONPATH:+$PYTHONPATH:}${site:+$site:}$here/src:$here/tests:$here/tests/benchmarks:$here/tests/gpu
! command -v nvidia-smi > /dev/null || nvidia-smi > "$out/nvidia-smi.txt" 2>&1
timeout "$limit" "$python" tests/gpu/gpu_check.py "$((limit - SECONDS - 10))" "$out" "${@:3}" 2>&1 | tee "$out/gpu.log"
