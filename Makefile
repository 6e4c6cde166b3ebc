# Everything a newcomer needs: `make demo` and `make test`. `make help` lists the rest.
SHELL := /bin/bash
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
LOCK ?= requirements-dev.txt
STAMP := $(VENV)/.installed
SOURCES := marketplace connectors tenants tests manage.py conftest.py
# Many processes start here: what one has compiled the others need not, whatever is usual in this environment.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help env demo run test bench faults check check-deploy lint format lock clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

env: $(STAMP) ## Install what is needed into .venv (does nothing when it is up to date)

# The stamp holds a checksum, so that neither a fresh clone's file times nor a moved folder install twice.
$(STAMP): $(LOCK)
	@sum="$$(sha256sum $(LOCK) | cut -d' ' -f1)"; \
	if [ "$$(cat $(STAMP) 2>/dev/null)" != "$$sum" ]; then \
		set -e; \
		echo "Installing into $(VENV) ..."; \
		[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV); \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(LOCK); \
		echo "$$sum" > $(STAMP); \
	else touch $(STAMP); fi

demo: env ## Take demo businesses from the catalogue to go-live, then serve the site (ONCE=1: stop after the main job)
	@$(BIN)/python manage.py demo $(if $(ONCE),--once)

run: env ## Serve the site with everything it needs, without the demo
	@$(BIN)/python manage.py stack

test: env ## Run every test but the fault campaign and the benchmarks
	@$(BIN)/pytest -n auto -m "not faults and not benchmark"

bench: env ## Print what the engine costs, with the gates it keeps (SIZE=release: at 100,000 orders)
	@BENCH_SIZE=$(SIZE) FAULTS_SIZE=$(SIZE) $(BIN)/pytest tests/benchmarks -m benchmark -s -q

faults: env ## The fault campaign and its table (SIZE=release: the whole of it; ONLY='test' SEED=n: one again)
	@FAULTS_SIZE=$(SIZE) FAULTS_SEED=$(SEED) $(BIN)/pytest $(if $(ONLY),'$(ONLY)' -n0,tests/faults -n 4 --durations=25 --durations-min=10) \
		-m faults -q

lint: env ## Check style, layers and types
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/djlint templates --lint --quiet

format: env ## Rewrite the code in the agreed form
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

check-deploy: env
	@.ci/check-deploy

check: lint check-deploy test ## Everything that must hold before a change is merged

lock: ## Renew the hashed lock files
	$(BIN)/uv pip compile --quiet --generate-hashes --no-header --no-emit-index-url --python-version 3.11 \
		--upgrade pyproject.toml -o requirements.txt
	$(BIN)/uv pip compile --quiet --generate-hashes --no-header --no-emit-index-url --python-version 3.11 \
		--upgrade -c requirements.txt --group dev pyproject.toml -o requirements-dev.txt

clean: ## Delete the local database, simulators' books and caches; .venv stays
	rm -rf var staticfiles .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
