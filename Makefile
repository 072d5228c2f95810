# The project's commands; `make` alone lists them.
# pip and uv read this machine's own settings (PIP_*, UV_*, their configuration files): nothing here overrides them.

PYTHON ?= python3
UV_VERSION := 0.13.9
BIN := .venv/bin
UV := $(BIN)/uv
READY := $(BIN)/.ready
STUDY := $(BIN)/atso-bench run --dataset hippocampus --budget small:3000 --parity line --out results/study

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test slow bench check regression study docs gpu-check gpu-pack lock image-test slurm-test ray-test clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## make .venv with exactly the packages of requirements.lock

demo: $(READY) ## compare four methods on a small phantom with 10 % of the labels, a few minutes on two cores
	$(BIN)/atso-bench run --method supervised,self-learning,cutmix,atso --dataset phantom --fraction 10 --seed 1,2,3 \
	  --budget demo --upper-bound --half-budget --device cpu,cpu --out results/demo

test: $(READY) ## run the tests, on all cores
	$(BIN)/python -m pytest -n auto --dist loadfile

slow: $(READY) ## run the tests that take longer than a few seconds
	$(BIN)/python -m pytest -m slow --timeout 1800

bench: $(READY) ## measure ours against its opponents and bounds, print the table of docs/performance.md; ONLY=word for some
	mkdir -p results/bench
	ATSO_BENCH_TABLE=results/bench/table.md $(BIN)/python -m pytest tests/benchmarks $(if $(ONLY),-k "$(ONLY)") \
	  --timeout 1800 --benchmark-json results/bench/bench.json --benchmark-disable-gc --benchmark-quiet

check: $(READY) ## lint, formatting, types, Dockerfile
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m pytest -m slow tests/contract/test_seams.py
	$(BIN)/hadolint Dockerfile

regression: $(READY) ## train four methods briefly and compare with the records in tests/baseline, 4 minutes on a CPU
	rm -rf results/regression
	$(BIN)/atso-bench run --method supervised,self-learning,mean-teacher,atso --dataset phantom --fraction 10 \
	  --seed 0,1 --budget small:500 --device cpu --out results/regression
	$(BIN)/atso-bench compare tests/baseline results/regression

study: $(READY) ## repeat docs/study.md (prepare hippocampus before), hours on a CPU; finished runs are not repeated
	$(STUDY) --method all --fraction 2,10 --seed 0,1,2 --upper-bound --half-budget
	$(STUDY) --method supervised,supervised-ema,self-learning,noisy-student,atso,cutmix,unimatch --fraction 2 --seed 3,4 \
	  --upper-bound --half-budget
	$(STUDY) --method atso --fraction 2 --seed 0,1,2,3,4 --option atso.restart=previous
	$(STUDY) --method atso --fraction 2 --seed 0,1,2,3,4 --option atso.subsets=1

gpu-check: $(READY) ## measure on this machine's GPU all that a GPU can tell, in 8 minutes; LIMIT=900 for more
	tests/gpu/gpu_check.sh $(or $(LIMIT),480)

gpu-pack: $(READY) ## collect in .gpu/ what gpu_check.sh needs on a machine with a GPU and torch but no registry
	tests/gpu/gpu_pack.sh

docs: $(READY) ## build the documentation's site into site/
	$(BIN)/mkdocs build --quiet --strict

lock: $(UV) ## renew requirements.lock after a change in pyproject.toml; LOCK=--upgrade takes newer versions too
	$(UV) pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-emit-index-url --no-header \
	  --no-annotate --extra dev $(LOCK) pyproject.toml -o requirements.lock
	@! grep -n '://' requirements.lock || { echo "requirements.lock must hold no URL" >&2; exit 1; }

image-test: ## build the image and run a job in it (Debian, root, 25 GB of disk; no container engine needed)
	tests/image_test.sh

slurm-test: $(READY) ## install SLURM (Debian or Ubuntu, root or sudo), run the tests on two nodes of it
	@command -v slurmctld sbatch munged > /dev/null || { \
	  sudo=$$([ "$$(id -u)" -eq 0 ] || echo sudo); \
	  $$sudo apt-get update -qq && $$sudo apt-get install -y -qq --no-install-recommends slurm-wlm munge; }
	$(BIN)/python -m pytest -m slurm tests/engines --timeout 1800

ray-test: $(READY) ## install Ray into .venv, run the tests on a cluster of two nodes
	$(UV) pip install --quiet --python $(BIN)/python --no-build-isolation --compile-bytecode --editable '.[ray]'
	$(BIN)/python -m pytest -m ray tests/engines --timeout 1800

clean: ## remove .venv and the caches; results stay
	rm -rf .venv build dist site src/*.egg-info .benchmarks .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

# Two steps: uv, which `lock` needs too, then everything else.
$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || { \
	  echo "This needs Python 3.10 to 3.13, but $(PYTHON) is `$(PYTHON) --version 2>&1`." >&2; \
	  echo "Name another one: make $(or $(MAKECMDGOALS),setup) PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet uv==$(UV_VERSION)

$(READY): requirements.lock pyproject.toml | $(UV)
	$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@
