# Every command a user has. `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

TARGET ?= prod

.PHONY: help
help: ## List the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

$(INSTALLED): requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

.PHONY: install
install: $(INSTALLED) ## Make the virtual environment, exact versions

.PHONY: demo
demo: $(INSTALLED) ## Sample data in, every model built, the answers printed
	$(BIN)/python -m orchestration demo

.PHONY: refresh
refresh: $(INSTALLED) ## Load the inbox, build every model to the last load, test (TARGET=dev: your own schemas)
	$(BIN)/python -m orchestration refresh --target $(TARGET)

.PHONY: purge
purge: $(INSTALLED) ## Close the days before a day for good (BEFORE=2026-01-01): raw goes, what outlives it stays
	$(BIN)/python -m orchestration purge --before "$(BEFORE)"

.PHONY: retention
retention: $(INSTALLED) ## Take away what is over its age, by seeds/retention_policies.csv (DRY_RUN=yes: only say what)
	$(BIN)/python -m orchestration retention $(if $(filter yes,$(DRY_RUN)),--dry-run)

.PHONY: replay
replay: $(INSTALLED) ## Re-process a range of days (FROM=2026-03-01 TO=2026-03-08), both included
	$(BIN)/python -m orchestration replay --from "$(FROM)" --to "$(TO)" --target $(TARGET)

.PHONY: status
status: $(INSTALLED) ## Lag, mark, lock, last refreshes, and why one is stuck
	$(BIN)/python -m orchestration status

.PHONY: dev
dev: $(INSTALLED) ## The Dagster UI
	$(BIN)/python -m orchestration dev

.PHONY: bench
bench: $(INSTALLED) ## Measure speed: a table, and .tidemark/bench.json
	$(BIN)/python -m orchestration.bench

.PHONY: evaluate-anomalies
evaluate-anomalies: $(INSTALLED) ## The detectors of anomalies on labelled series (DATA=folder with windows.json)
	$(BIN)/python -m orchestration evaluate-anomalies $(DATA)

.PHONY: test
test: $(INSTALLED) ## Every test but the long ones
	$(BIN)/python -m pytest -m "not long" -n auto --dist loadfile --no-loadscope-reorder

.PHONY: test-long
test-long: $(INSTALLED) ## The long modes of the law tests
	$(BIN)/python -m pytest -m long

.PHONY: lint
lint: $(INSTALLED) ## ruff, sqlfluff, dbt parse and dbt-bouncer; needs no server
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PYTHONWARNINGS=ignore $(BIN)/sqlfluff lint --quiet models tests/dbt
	$(BIN)/dbt --quiet parse --target-path target
	@if [ -x $(BIN)/dbt-bouncer ]; then $(BIN)/dbt-bouncer run --config-file dbt-bouncer.yml; \
		else echo "dbt-bouncer needs Python 3.11 or newer: its checks are skipped."; fi

.PHONY: fmt
fmt: $(INSTALLED) ## Format Python and SQL
	$(BIN)/ruff check --fix --quiet --exit-zero .
	$(BIN)/ruff format .
	PYTHONWARNINGS=ignore $(BIN)/sqlfluff fix --quiet models tests/dbt

.PHONY: docs
docs: $(INSTALLED) ## The documentation of every relation and column, and the lineage, as one HTML page
	@eval "$$($(BIN)/python -m ingest server env --reading)"; $(BIN)/dbt --quiet docs generate --static --target-path target
	@echo "Open file://$(CURDIR)/target/static_index.html in a browser."

.PHONY: psql
psql: $(INSTALLED) ## A psql on the warehouse (the demo's database while there is no other)
	@$(BIN)/python -m ingest server psql --reading -- $(ARGS)

.PHONY: clean
clean: ## Remove environment and build files (DATA=yes: stop the server and remove its data too)
	@if [ "$(DATA)" = yes ] && [ -x $(BIN)/python ]; then $(BIN)/python -m ingest server remove --yes; fi
	rm -rf .venv target logs .pytest_cache .ruff_cache .hypothesis *.egg-info
