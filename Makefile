# `make demo` and `make test` work on a fresh machine; both set it up first.
# Paths are relative and every target is phony, so that a space in the folder's name does no harm.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

PYTHON ?= python3
BIN := .venv/bin
# Paths the style and type checks cover.
CODE := src tests benchmarks scripts examples deploy

.PHONY: help setup demo test check clean ready
.PHONY: lint types imports unit examples docs reference format integration audit

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

setup: ## create .venv and .venv-engine, install the locked versions, prepare the demo's model
	@"$(PYTHON)" scripts/setup.py

demo: setup ## run examples/jobs/quickstart.yaml on real vLLM and print the result
	$(BIN)/optikit models add .cache/models/smollm2-135m --name smollm2-135m --version 1
	$(BIN)/optikit submit examples/jobs/quickstart.yaml
	$(BIN)/optikit doctor --leftovers

test: setup check integration ## every check and test

check: lint types imports unit docs examples ## the one door: style, types, import rules, unit tests, docs, examples
	@echo "check: all passed"

# Sets up only what is not there at all: a check must not change a working environment.
ready:
	@test -x $(BIN)/optikit || "$(PYTHON)" scripts/setup.py

lint: ready
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)

types: ready
	$(BIN)/mypy src tests benchmarks scripts deploy $(wildcard examples/*.py)

imports: ready
	$(BIN)/lint-imports --no-logo

unit: ready # tests of the code, of the architecture and of the docs; doctests of the pure modules
	$(BIN)/python -m pytest -q -n auto --dist worksteal -m "not integration and not gpu" tests/unit tests/contracts tests/test_*.py
	$(BIN)/python -m pytest -q --doctest-modules src/optikit/spec src/optikit/core src/optikit/errors.py src/optikit/plugins.py src/optikit/reports/words.py

examples: ready # every example is planned
	@for job in examples/jobs/*.yaml examples/recipes/*.yaml; do \
	  echo "optikit plan $$job"; $(BIN)/optikit plan --json "$$job" > /dev/null || exit 1; \
	done

docs: ready ## build the documentation site into build/site
	$(BIN)/python scripts/build_site.py

reference: ready ## write the pages of the reference that are made from the code
	$(BIN)/python scripts/reference.py

# First what may run beside others, then what needs the machine for itself; both are run to the end.
integration: ready
	@failed=0; \
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile -m "integration and beside and not gpu" \
	  --durations=15 tests/integration || failed=1; \
	$(BIN)/python -m pytest -m "integration and not beside and not gpu" --durations=30 tests/integration || failed=1; \
	exit $$failed

audit: ready ## locked versions against known advisories; ONLINE=1 also asks an advisory service
	$(BIN)/python scripts/audit.py $(if $(ONLINE),--online)

format: ready ## rewrite the code in the project's style
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

clean: ## remove environments, caches and build outputs; keeps .optikit (your jobs)
	rm -rf .venv .venv-engine .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
