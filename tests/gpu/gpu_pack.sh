#!/usr/bin/env bash
# On a machine with a package registry: put into .gpu/, which git ignores, what tests/gpu/gpu_check.sh needs on a machine
# with a GPU, Python 3.12 and torch, but without a registry. Two folders of wheels, for they may have to travel apart.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
python=${PYTHON:-.venv/bin/python}
mkdir -p .gpu/first .gpu/wheels .gpu/data
locked() { # NAME==VERSION of the lock, for Python 3.12
  awk -v name="$1" 'BEGIN { IGNORECASE = 1 } tolower($1) ~ "^" name "==" && ($0 !~ /;/ || $0 ~ />= .3.1[12]/) { print $1 }' \
    requirements.lock | tail -1
}
platforms=()
for glibc in 17 24 26 27 28 31 34; do platforms+=(--platform "manylinux_2_${glibc}_x86_64"); done
platforms+=(--platform manylinux2014_x86_64 --platform manylinux1_x86_64 --platform any)
get() {
  "$python" -m pip download -q --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
    "${platforms[@]}" -d "$1" "${@:2}"
}
binary=(annotated-types blosc2 cityscapesscripts connected-components-3d nibabel ndindex numexpr orjson pydantic
  pydantic-core segmentation-models-pytorch typing-inspection yacs appdirs coloredlogs humanfriendly future argparse)
source=(acvl-utils nnunetv2 dynamic-network-architectures batchgenerators batchgeneratorsv2 pyquaternion) # some have no wheel
get .gpu/first "$(locked simpleitk)"
wheels=() sources=()
for name in "${binary[@]}"; do wheels+=("$(locked "$name")"); done
for name in "${source[@]}"; do sources+=("$(locked "$name")"); done
get .gpu/wheels "${wheels[@]}"
"$python" -m pip wheel -q --no-deps -w .gpu/wheels "${sources[@]}"
data=${ATSO_BENCH_REAL_DATA:-}/Task04_Hippocampus
[ ! -d "$data" ] || cp -rL "$data" .gpu/data/
du -sh .gpu/*
