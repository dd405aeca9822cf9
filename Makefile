# Every target is safe to repeat. `make` alone says what there is.
PYTHON ?= python3
PORT ?= 8000
SECONDS ?= 600
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help install install-dev run test soak bench lint format lock clean

help: ## say what each target does
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' Makefile

install: $(VENV)/.installed ## install what running needs into .venv
	@echo "Everything that running needs is in $(VENV)."

install-dev: $(VENV)/.installed-dev ## install what testing needs as well

run: $(VENV)/.installed ## start the server, the engines and the demo on http://localhost:$(PORT)
	@$(BIN)/python manage.py serve --port $(PORT)

test: install-dev ## run all tests
	@echo "Running the tests, two at a time (about eight minutes; those of realtime/ alone: $(BIN)/python -m pytest tests/realtime) …"
	@$(BIN)/python -m pytest -n 2 --dist worksteal

soak: install-dev ## see that memory is flat: ten minutes of short-lived topics over Redis (SECONDS=… for less)
	@$(BIN)/python -m tests.cluster.soak --seconds $(SECONDS)

bench: install-dev ## measure ours beside Channels, Socket.IO, ws, NATS and the limit, for docs/benchmarks and README (20 minutes)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-bench.lock
	@cd benchmarks/peers/node && if command -v npm >/dev/null; then npm ci --silent --no-audit --no-fund; fi
	@$(BIN)/python -m benchmarks --seconds 2 --output docs/benchmarks
	@$(BIN)/python -m benchmarks.engines --output docs/benchmarks
	@$(BIN)/python -m benchmarks.studio --output docs/benchmarks

lint: install-dev ## check style, types and the floors of the house
	@echo "ruff …" && $(BIN)/ruff check . && $(BIN)/ruff format --check .
	@echo "mypy …" && $(BIN)/mypy
	@echo "import-linter …" && $(BIN)/lint-imports --config pyproject.toml | tail -n 5

format: install-dev ## bring the code into form
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

lock: install-dev ## pin the newest allowed dependencies (holds no registry address)
	@echo "Resolving dependencies …"
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/uv pip compile --quiet --universal --no-emit-index-url --no-annotate --no-header --upgrade \
		--output-file requirements.lock pyproject.toml
	@$(BIN)/uv pip compile --quiet --universal --no-emit-index-url --no-annotate --no-header --upgrade \
		--constraint requirements.lock --group dev --output-file requirements-dev.lock pyproject.toml
	@$(BIN)/uv pip compile --quiet --universal --no-emit-index-url --no-annotate --no-header --upgrade \
		--constraint requirements-dev.lock --group bench --output-file requirements-bench.lock pyproject.toml

clean: ## remove .venv and var (the database, too)
	rm -rf $(VENV) var

$(VENV)/bin/python:
	@echo "Making $(VENV) …"
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed; say which with make PYTHON=…")'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: requirements.lock | $(VENV)/bin/python
	@echo "Installing what running needs (once, about a minute) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock $(VENV)/.installed | $(VENV)/bin/python
	@echo "Installing what testing needs (once) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.lock
	@touch $@
