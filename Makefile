# Every target builds what it needs in .venv; the system's Python stays as it is.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: install demo test fuzz check format lint types bench scale startup clean

install: $(READY)

$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "the gateway needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable '.[test,bench]'
	@touch $(READY)

# The story of one token, told by the running gateway. ONCE=1 ends after it.
demo: install
	$(BIN)/gateway demo $(if $(ONCE),--once)

# All checks and all tests.
test: install check
	@PIP=$(BIN)/pip sh tests/support/with_servers.sh $(BIN)/pytest $(ARGS)

check: format lint types

format: install
	$(BIN)/ruff format --check .

lint: install
	$(BIN)/ruff check .

types: install
	$(BIN)/mypy

# New requests that nobody would think of, as many as EXAMPLES says.
fuzz: install
	@GATEWAY_FUZZ_EXAMPLES=$(or $(EXAMPLES),20000) $(BIN)/pytest tests/system/test_fuzzed_heads.py $(ARGS)

# The tables of benchmarks/MEASURED.md.
bench: install
	$(BIN)/python -m benchmarks $(ARGS)

# What a million tokens cost Redis, in bytes and in time.
scale: install
	$(BIN)/python -m benchmarks.scale --tokens 1000000 $(ARGS)

# What it costs to start a command, and the gateway.
startup: install
	$(BIN)/python -m benchmarks.startup $(ARGS)

clean:
	rm -rf $(VENV) dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
