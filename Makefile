# The front door. Works from any directory (`make -C`, `make -f`) and in paths with spaces.

here := $(shell cd "$$(dirname "$$(printf '%s' '$(MAKEFILE_LIST)' | sed 's/^ *//')")" && pwd)
ifeq ($(here),)
$(error the Makefile's folder can't be found: its path must not hold quotes)
endif

PYTHON ?= python3
PRESET ?=
SET ?=
BENCH ?=
CHAOS ?=
VERIFY ?=

# PRESET and SET reach `stages.configure` as they were typed: neither make nor a shell finds commands in them.
unexport PRESET SET
export GIVEN_PRESET := $(value PRESET)
export GIVEN_SET := $(value SET)

# Every recipe runs in the project's folder with the environment first on PATH, since DVC's stages call `python`.
enter := cd "$(here)" && export PATH="$(here)/.venv/bin:$$PATH" DVC_NO_ANALYTICS=1 PYTHONNOUSERSITE=1
ready := cd "$(here)" && PYTHON="$(PYTHON)" sh environment.sh && $(enter)
developing := cd "$(here)" && PYTHON="$(PYTHON)" sh environment.sh dev && $(enter)
configured := $(ready) && python -m stages.configure --preset="$$GIVEN_PRESET" --set="$$GIVEN_SET" \
	&& python -m stages.repair && python -m stages.check

.DEFAULT_GOAL := help
.PHONY: help env repro ablations verify test test-all bench chaos lint format docs lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s%s\n", $$1, $$2}' "$(here)/Makefile"
	@echo
	@echo '  make repro PRESET=smoke                      apply presets/smoke.yaml to params.yaml, then rebuild'
	@echo '  make repro SET="run.seeds=[0] sweep.trials=50"   set single parameters, then rebuild'

env: ## make .venv and install what requirements.lock pins
	@$(ready)

repro: ## rebuild whatever is out of date, after applying PRESET= and SET= to params.yaml
	@$(configured) && dvc repro && python -m stages.tidy && echo "done: open reports/index.html"

ablations: ## train a small Model 5 with its choices taken back, in each condition and seed; takes PRESET= and SET= too
	@$(configured) && dvc repro ablations/dvc.yaml && python -m stages.ablations && dvc repro && python -m stages.tidy

verify: ## rebuild what is committed in a clone, and compare (VERIFY="--stages sweep": part of it; see docs/verification.md)
	@$(ready) && python -m stages.verify $(VERIFY)

test: ## run the tests (four minutes)
	@$(developing) && python -m pytest -n auto --maxschedchunk 2

test-all: test ## run all tests, the long ones too (half an hour)
	@$(developing) && python -m pytest -n auto --maxschedchunk 1 -m "slow and not alone" && python -m pytest -m "slow and alone"

bench: ## time Model 5, the survey of norms, and their peers on this machine (BENCH="--size small": only at the small size)
	@$(ready) && python -m benchmarks $(BENCH) && echo && python -m benchmarks.norms

chaos: ## inject faults into rebuilds for ten minutes; all have to heal (CHAOS="--only kill": options)
	@$(ready) && python -m chaos $(CHAOS)

lint: ## check style, types and imports
	@$(developing) && ruff check . && ruff format --check . && mypy && lint-imports --no-cache --no-logo

format: ## bring the sources into the project's format
	@$(developing) && { ruff check --fix . ; ruff format . ; }

docs: ## write the README's generated sections anew
	@$(ready) && python -m stages.readme

lock: ## resolve both lock files anew from pyproject.toml, keeping pins that still fit
	@$(developing) && sh lock.sh

clean: ## remove half-written files, caches and .venv; data, reports and DVC's cache stay
	@cd "$(here)" && rm -rf .venv .pytest_cache .hypothesis .mypy_cache .ruff_cache dvc_plots *.egg-info \
		&& find . -name .git -prune -o \( -name '*.tmp' -o -name __pycache__ \) -prune -exec rm -rf {} +
