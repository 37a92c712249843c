# The front door. Works from any directory (`make -C`, `make -f`) and in paths with spaces.

here := $(shell cd "$$(dirname "$$(printf '%s' '$(MAKEFILE_LIST)' | sed 's/^ *//')")" && pwd)
ifeq ($(here),)
$(error the Makefile's folder can't be found: its path must not hold quotes)
endif

PYTHON ?= python3
PRESET ?=
SET ?=
JOBS ?=
BENCH ?=
VERIFY ?=

# They reach Python as they were typed, words quoted as in a shell: neither make nor a shell finds commands in them.
unexport PRESET SET JOBS BENCH VERIFY
export GIVEN_PRESET := $(value PRESET)
export GIVEN_SET := $(value SET)
export GIVEN_JOBS := $(value JOBS)
export GIVEN_BENCH := $(value BENCH)
export GIVEN_VERIFY := $(value VERIFY)

# DVC and verification need a history; a downloaded archive has none. Git's other errors, as about a clone that belongs to someone
# else, stand as they are.
recorded := { said=$$(LC_ALL=C git rev-parse --git-dir 2>&1 > /dev/null) || { printf '%s\n' "$$said" >&2; case "$$said" in \
	*"not a git repository"*) echo "error: no git repository here (a downloaded archive?): git clone it, or make one: git init" \
	"&& git add --all && git commit -m downloaded" >&2;; esac; exit 2; }; }

# Every recipe runs in the project's folder with the environment first on PATH, since DVC's stages call `python`. Python may
# keep what it compiles: the set-up leaves that to it.
enter := cd "$(here)" && export PATH="$(here)/.venv/bin:$$PATH" DVC_NO_ANALYTICS=1 PYTHONNOUSERSITE=1 PYTHONDONTWRITEBYTECODE=
ready := cd "$(here)" && PYTHON="$(PYTHON)" sh environment.sh && $(enter)
developing := cd "$(here)" && PYTHON="$(PYTHON)" sh environment.sh dev && $(enter)
run := $(ready) && $(recorded) && python -m tools.run --preset="$$GIVEN_PRESET" --set="$$GIVEN_SET" --jobs="$$GIVEN_JOBS"

.DEFAULT_GOAL := help
.PHONY: help env repro report ablations verify test test-all bench lint format docs lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^## / {printf "\n%s\n", substr($$0, 4)} /^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' \
		"$(here)/Makefile"
	@echo
	@echo 'For example'
	@echo '  make repro PRESET=smoke                          the whole pipeline in seconds, by presets/smoke.yaml'
	@echo '  make repro SET="run.seeds=[0] sweep.trials=50"   other parameters'
	@echo '  make repro JOBS=1                                one stage after another; by default as many as there are cores'
	@echo '  make verify VERIFY="--stages sweep,softmax"      part of it; make verify VERIFY=--help lists the options'
	@echo
	@echo 'docs/cookbook.md has recipes, and what to do if something does not start.'

## Every day

repro: ## rebuild whatever is out of date; PRESET= and SET= edit params.yaml first, JOBS= says how many stages at once
	@$(run) && echo "done: make report opens the page"

report: ## open the report in the browser, and say where it is
	@echo "$(here)/reports/index.html"
	@[ -z "$${DISPLAY:-}$${WAYLAND_DISPLAY:-}$${BROWSER:-}" ] && [ "$$(uname)" != Darwin ] \
		|| $(PYTHON) -m webbrowser "file://$$(printf '%s' "$(here)" | sed 's/%/%25/g; s/ /%20/g')/reports/index.html" > /dev/null

ablations: ## train a small Model 5 with its choices taken back, in each condition and seed; takes PRESET=, SET=, JOBS= too
	@$(run) --ablations

## Does it hold?

verify: ## rebuild what is committed in a clone, and compare; VERIFY="..." are options, docs/verification.md says more
	@$(ready) && $(recorded) && printf '%s\n' tools.verify "$$GIVEN_VERIFY" | xargs python -m

test: ## run the tests (two minutes)
	@$(developing) && python -m pytest -n auto --maxschedchunk 2

test-all: test ## run all tests, the long ones too (most of an hour)
	@$(developing) && python -m pytest -n auto --maxschedchunk 1 -m "slow and not alone" && python -m pytest -m "slow and alone"

bench: ## time Model 5 beside transformers on this machine; BENCH="--size small" are options
	@$(ready) && printf '%s\n' tools.bench "$$GIVEN_BENCH" | xargs python -m

## Working on it

env: ## make .venv and install what requirements.lock pins; all other targets that need it do so, too
	@$(ready)

lint: ## check style, types and imports
	@$(developing) && ruff check . && ruff format --check . && mypy && lint-imports --no-cache --no-logo

format: ## bring the sources into the project's format
	@$(developing) && { ruff check --fix . ; ruff format . ; }

docs: ## write the README's generated sections and params.yaml's schema anew
	@$(ready) && python -m tools.build_docs

lock: ## resolve both lock files anew from pyproject.toml, keeping pins that still fit
	@$(developing) && sh lock.sh

clean: ## remove half-written files, caches and .venv; data, reports and DVC's cache stay
	@cd "$(here)" && rm -rf .venv .pytest_cache .hypothesis .mypy_cache .ruff_cache .import_linter_cache .screenshots dvc_plots *.egg-info \
		&& find . -name .git -prune -o \( -name '*.tmp' -o -name __pycache__ \) -prune -exec rm -rf {} +
