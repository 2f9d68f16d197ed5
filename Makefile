# Everything runs from .venv, which is made with plain venv and pip when it is missing or when one
# of the two pyproject.toml has changed.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
# Whole files, in their order: what is long to start is shared within a file.
TWO_AT_A_TIME := -n 2 --dist loadfile --no-loadscope-reorder
# The slow ones wait for servers and workers most of the time.
THREE_AT_A_TIME := -n 3 --dist loadfile --no-loadscope-reorder
# Hundreds of processes import the project, and each would compile it anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo up down test test-slow bench lint format docs clean

help: ## list these targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(INSTALLED) ## encode real images, train adapters, show the leaderboard, as a flow of Prefect
	@$(BIN)/clip-adapter demo --prefect

up: $(INSTALLED) ## bring Prefect's server, a worker and all deployments up, in the background
	@$(BIN)/clip-adapter up

down: ## end what `make up` started, and nothing else
	@test ! -x $(BIN)/clip-adapter || $(BIN)/clip-adapter down

test: $(INSTALLED) ## run the tests
	$(BIN)/python -m pytest $(TWO_AT_A_TIME)

test-slow: $(INSTALLED) ## run the fault and endurance tests
	$(BIN)/python -m pytest -m slow $(THREE_AT_A_TIME)

bench: $(INSTALLED) ## measure speed and memory on this machine: half an hour, best with nothing else running
	$(BIN)/python -m benchmarks

lint: $(INSTALLED) ## check format, rules, types and layers
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(INSTALLED) ## format the code
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

docs: $(INSTALLED) ## write the reference in docs/sql.md anew
	@$(BIN)/python -m clip_adapter.runs.sql_reference docs/sql.md

clean: ## remove the virtual environment and the caches, never a store
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis dist

$(INSTALLED): pyproject.toml service/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version). Try: make PYTHON=python3.12"; exit 1; }
	@echo "Installing into .venv; the first time takes some minutes and several gigabytes (torch)."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[pipeline,dask,glyphs,dev]' --editable ./service
	@touch $@
