# One command each; `make` alone shows the list.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
WORKERS ?= 2
.DEFAULT_GOAL := help
.PHONY: help venv demo test coverage test-slow test-compat lint format bench soak docs clean browser

help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

$(VENV)/.installed: sdk/pyproject.toml server/pyproject.toml constraints.txt requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Mona needs Python 3.11 or newer: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo 'installing into .venv' >&2
	@$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e 'sdk[fast]' -e 'server[demo]'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -r requirements-dev.txt
	@touch $@

venv: $(VENV)/.installed ## make .venv with the SDK, the server and the demo

demo: $(VENV)/.installed ## real flights through the SDK, the search, and pages to look at (ARGS="--exit --json")
	@$(BIN)/mona demo $(ARGS)

browser: ## the system's Chromium, for the tests of the pages
	@command -v chromium >/dev/null || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium; }

test: $(VENV)/.installed-dev browser ## all tests but the slow ones, in two processes (WORKERS=0: in one)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)
	cd sdk && ../$(BIN)/python -m unittest mona_sdk/tests/client_tests.py

coverage: $(VENV)/.installed-dev browser ## the same tests, slower, with the lines that none of them reaches
	$(BIN)/python -m pytest --cov --cov-report=term:skip-covered $(ARGS)

test-slow: $(VENV)/.installed-dev ## kills, soaks and long property runs
	$(BIN)/python -m pytest -m slow --timeout=3600 $(ARGS)

test-compat: $(VENV)/.installed-dev ## the public clients against this server
	$(BIN)/python -m pytest server/tests/api/compat -m compat --timeout=1800 $(ARGS)

lint: $(VENV)/.installed-dev ## ruff, mypy and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy server/mona_server sdk/mona_sdk server/tests benchmarks
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev ## put the code in form
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

docs: $(VENV)/.installed ## renew the generated parts of docs/
	$(BIN)/python -m mona_server.config.reference docs/configuration.md

bench: $(VENV)/.installed-dev ## all benchmarks, with their peers where installed
	$(BIN)/python -m benchmarks $(ARGS)

soak: $(VENV)/.installed-dev ## a whole server under mixed load for 30 minutes (ARGS="--minutes 5")
	$(BIN)/python -m benchmarks.soak $(ARGS)

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
