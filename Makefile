# `make demo` and `make test` work from a fresh clone: what they need is put into .venv first.
PYTHON ?= python3
JOBS ?= 2
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# On cores that others use too, threads that wait by spinning make everything several times slower.
export OMP_WAIT_POLICY := PASSIVE

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format bench tables

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1	/p' $(firstword $(MAKEFILE_LIST))

setup: $(INSTALLED)  ## install everything into .venv (other targets do so by themselves)

demo: $(INSTALLED)  ## adapt the embedded default to a synthetic accent, and print WER before and after
	@$(BIN)/speechxfer demo

test: $(INSTALLED)  ## run the tests
	@OMP_NUM_THREADS=1 $(BIN)/pytest -n $(JOBS)

lint: $(INSTALLED)  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED)  ## put the code into ruff's form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(INSTALLED)  ## measure again what the documents state (quiet machine, SPEECHXFER_CORPORA set)
	@for bench in startup score coverage encode adapt cache; do \
		echo "scripts/bench/$$bench.py"; \
		$(BIN)/python scripts/bench/$$bench.py --json recipes/results/bench-$$bench.json || exit 1; \
	done

tables: $(INSTALLED)  ## write the tables of the documents from recipes/results
	@$(BIN)/python scripts/tables.py

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "$(PYTHON) is not Python 3.11 or later ($$($(PYTHON) --version 2>&1))."; \
		echo "  fix: name one that is, for example: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "Setting up .venv: about 3 minutes and 7 GB, once (torch is most of it) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[demo,dev]'
	@touch $@
	@echo "Set up."
