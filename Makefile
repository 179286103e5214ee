# `make demo` and `make test` work in a fresh clone: every target installs its requirements into .venv first.
PYTHON ?= python3
JOBS ?= 2
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# Folders and files of tests that build no torch model.
QUICK := tests/scoring tests/text tests/config tests/report $(filter-out %/test_recipes.py %/test_wheel.py %/test_documents.py,\
	$(wildcard tests/contract/test_*.py))

# On a shared machine, threads that spin while they wait slow everything down several times.
export OMP_WAIT_POLICY := PASSIVE

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-quick test-slow lint format bench tables docs

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' $(firstword $(MAKEFILE_LIST))

setup: $(INSTALLED)  ## install everything into .venv (the other targets run it first)

demo: $(INSTALLED)  ## adapt the packaged Whisper model to a synthetic accent and print WER before and after
	@$(BIN)/speechxfer demo

# Tests of a file run in one process, so that no trained model is made twice.
test: $(INSTALLED)  ## run the tests, without those marked slow, hub or gpu
	@OMP_NUM_THREADS=1 $(BIN)/pytest -n $(JOBS) --dist loadfile -m "not slow and not hub and not gpu"

test-quick: $(INSTALLED)  ## run the tests that need no torch model (at most 2 minutes)
	@OMP_NUM_THREADS=1 $(BIN)/pytest -n $(JOBS) -m "not slow and not hub and not gpu" $(QUICK)

# pytest exits 5 where no test is selected, which is no failure here.
test-slow: $(INSTALLED)  ## run the tests marked slow (at most 30 minutes)
	@OMP_NUM_THREADS=1 $(BIN)/pytest -n $(JOBS) -m "slow and not hub and not gpu" || [ $$? -eq 5 ]

lint: $(INSTALLED)  ## check with ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED)  ## format the code with ruff
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(INSTALLED)  ## rerun the benchmarks in the documents (idle machine, SPEECHXFER_CORPORA set)
	@for bench in startup score score_large coverage encode adapt cache; do \
		echo "scripts/bench/$$bench.py"; \
		$(BIN)/python scripts/bench/$$bench.py --json recipes/results/bench-$$(echo $$bench | tr _ -).json || exit 1; \
	done

tables: $(INSTALLED)  ## generate the tables in the documents from recipes/results, and the reference pages
	@$(BIN)/python scripts/tables.py
	@$(BIN)/python scripts/reference.py

docs: $(INSTALLED)  ## build the documentation in docs/_build/html; a warning or a dead link is an error
	@$(BIN)/sphinx-build --builder html --fail-on-warning --keep-going --quiet docs docs/_build/html
	@echo "docs/_build/html/index.html"

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "$(PYTHON) is not Python 3.11 or later ($$($(PYTHON) --version 2>&1))."; \
		echo "  fix: name a newer one, e.g. make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "Setting up .venv: about 3 minutes and 7 GB, once (torch is most of it) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[demo,dev]'
	@touch $@
	@echo "Set up."
