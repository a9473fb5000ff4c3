# Two commands on a fresh machine: `make run` and `make test`. They need Python 3.11 or newer and the package registry.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet

# A stamp per lock file: nothing is installed again until its lock changes.
RUNTIME := $(VENV)/.installed-runtime
DEV     := $(VENV)/.installed-dev

# What `make test-clients` runs, at pinned versions, in a place of its own: clients bring hundreds of megabytes.
CLIENTS := var/clients/.installed

.DEFAULT_GOAL := help
.PHONY: help run test test-clients check format bench faults lock

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(RUNTIME) ## serve on http://127.0.0.1:8000 (HOST, PORT) with everything that runs beside it
	@$(BIN)/python -m hypereal.run

test: $(DEV) ## run the test suite; with DATABASE_URL and REDIS_URL against those (ARGS="-k money")
	@$(BIN)/python -m pytest $(ARGS)

test-clients: $(DEV) $(CLIENTS) ## run real clients (Claude Code, Codex, SDKs …) against a gateway; needs Node.js and npm
	@TEST_CLIENTS=1 $(BIN)/python -m pytest tests/clients $(ARGS)

check: $(DEV) ## ruff, mypy, import contracts, missing migrations
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python manage.py makemigrations --check --dry-run

format: $(DEV) ## let ruff format the code and fix what it can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(DEV) ## measure the hot path on this machine
	@$(BIN)/python -m tests.bench.run $(ARGS)

faults: $(DEV) ## kill, cut, crash and race a gateway for half an hour, and prove its ledger (ARGS="kills --scale 0.1")
	@$(BIN)/python -m tests.faults.run $(ARGS)

lock: $(BIN)/python ## write the hashed lock files from pyproject.toml
	$(PIP) install uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--group dev pyproject.toml -o requirements-dev.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		tests/clients/requirements.in -o tests/clients/requirements.lock

$(RUNTIME): requirements.lock | $(BIN)/python
	@echo "installing what requirements.lock names"
	@$(PIP) install --require-hashes --requirement $<
	@touch $@

# The development lock holds everything that the other one does.
$(DEV): requirements-dev.lock requirements.lock | $(BIN)/python
	@echo "installing what requirements-dev.lock names"
	@$(PIP) install --require-hashes --requirement $<
	@touch $(RUNTIME) $@

$(CLIENTS): tests/clients/package-lock.json tests/clients/requirements.lock | $(BIN)/python
	@echo "installing the clients that tests/clients pins"
	@mkdir -p $(@D)
	@cp tests/clients/package.json tests/clients/package-lock.json $(@D)
	@# Not `npm ci`: it refuses a lock without the packages of other platforms, which some registries do not carry.
	@npm install --prefix $(@D) --ignore-scripts --no-audit --no-fund --loglevel=error
	@$(PYTHON) -m venv $(@D)/python
	@$(@D)/python/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes \
		--requirement tests/clients/requirements.lock
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "hypereal needs Python 3.11 or newer; $(PYTHON) is not: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV) || { \
		echo "$(PYTHON) cannot make a virtual environment (on Debian: apt-get install python3-venv)" >&2; \
		rm -rf $(VENV); exit 2; }
