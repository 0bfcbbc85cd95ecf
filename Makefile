# Every target builds what it needs in a virtual environment of its own; the system's Python stays as it is.

PYTHON ?= python3
# .venv for the default Python, .venv-3.13 with PYTHON=python3.13.
VENV := .venv$(if $(filter-out python3,$(PYTHON)),-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])'))
BIN := $(VENV)/bin
READY := $(VENV)/.ready
UV := .venv-uv/bin/uv
# Compiled modules are kept in the environment, whatever is set outside: the tests start hundreds of processes.
unexport PYTHONDONTWRITEBYTECODE
export PYTHONPYCACHEPREFIX := $(CURDIR)/$(VENV)/pycache
# Processes that run tests side by side.
JOBS ?= 2
SIDE_BY_SIDE := -n $(JOBS) --dist loadfile
TESTS ?= unit

.PHONY: install lock demo docs reference pictures test verify test-fast test-latest test-lowest coverage package fuzz check format lint types bench plots soak simulate faults scale startup clean

# What requirements.lock pins, and this checkout.
install: $(READY)

$(READY): pyproject.toml requirements.lock
	@$(PYTHON) .ci/install.py $(VENV)
	@touch $(READY)

# The newest versions that pyproject.toml allows, for all Pythons and platforms. No index is named: it is the reader's own.
lock: $(UV)
	$(UV) pip compile --quiet --universal --python-version 3.11 --upgrade --generate-hashes --all-extras --custom-compile-command 'make lock' \
		--output-file requirements.lock pyproject.toml

$(UV):
	$(PYTHON) -m venv .venv-uv
	.venv-uv/bin/pip install --quiet 'uv<1'

# The story of one token, told by the running gateway. ONCE=1 ends after it.
demo: install
	$(BIN)/gateway demo $(if $(ONCE),--once)

# The site of docs/, in dist/site. A warning is an error; the hint at a new generator is none.
docs: install
	@$(BIN)/python .ci/install.py $(VENV) docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --config-file .ci/mkdocs.yml

# The parts of docs/ that are made from the code.
reference: install
	@$(BIN)/python .ci/reference.py

# The pictures of the developer page in deploy/screenshots/. Needs redis-server and Chromium.
pictures: install
	@PYTHONPATH=. $(BIN)/python .ci/pictures.py

# All checks and all tests. It asks before it installs servers; INSTALL=1 installs them without a question.
test: install check
	@INSTALL=$(INSTALL) VENV=$(VENV) sh tests/support/with_servers.sh $(BIN)/pytest $(SIDE_BY_SIDE) $(ARGS)

# That requests which are recognised are answered as the others, byte for byte (docs/development/recognition.md).
verify: install
	@RECOGNITION_WALKS=40 $(BIN)/pytest $(SIDE_BY_SIDE) --dist load tests/server/test_recognition.py tests/server/test_passages.py
	@GATEWAY_RECOGNITION=verify $(BIN)/pytest $(SIDE_BY_SIDE) tests/contracts $(ARGS)

# The tests that start no server: no Redis, no browser, no proxies, no backends.
test-fast: install
	@$(BIN)/pytest $(SIDE_BY_SIDE) -m unit $(ARGS)

# Which lines and branches the tests run: a table here, more in coverage/. TESTS="" takes all tests, not the fast ones.
coverage: install
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest $(SIDE_BY_SIDE) -m "$(TESTS)" $(ARGS)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage html --quiet
	@$(BIN)/coverage xml --quiet
	@$(BIN)/coverage report

# The newest versions that pyproject.toml allows, which a new installation gets; then what its ceilings hold back.
test-latest: $(UV)
	@echo "resolving all dependencies anew into .venv-latest"
	@$(UV) venv --quiet --clear --python $(PYTHON) .venv-latest
	@$(UV) pip install --quiet --python .venv-latest --editable '.[test]'
	@$(UV) pip list --quiet --python .venv-latest
	@echo "newer versions that were not chosen:" && $(UV) pip list --quiet --python .venv-latest --outdated
	.venv-latest/bin/pytest $(SIDE_BY_SIDE) $(WITHOUT_OTHERS) $(ARGS)

# The lowest versions that pyproject.toml allows, with the newest test tools.
test-lowest: $(UV)
	@echo "resolving the lowest versions into .venv-lowest"
	@$(UV) venv --quiet --clear --python $(PYTHON) .venv-lowest
	@$(UV) pip install --quiet --python .venv-lowest --resolution lowest-direct --editable '.[demo]'
	@$(UV) pip install --quiet --python .venv-lowest --editable '.[test]'
	@$(UV) pip list --quiet --python .venv-lowest
	.venv-lowest/bin/pytest $(SIDE_BY_SIDE) $(WITHOUT_OTHERS) $(ARGS)

# Other programs than Python's packages are the same in all of these environments.
WITHOUT_OTHERS := -m "not browser and not proxies and not backends"

# The wheel, as somebody installs it who has no checkout.
package: install
	@$(BIN)/python .ci/package.py

check: format lint types

format: install
	$(BIN)/ruff format --check .

lint: install
	$(BIN)/ruff check .

types: install
	$(BIN)/mypy
	$(BIN)/mypy .ci/*.py

# New requests that nobody would think of, as many as EXAMPLES says.
fuzz: install
	@GATEWAY_FUZZ_EXAMPLES=$(or $(EXAMPLES),20000) $(BIN)/pytest tests/system/test_fuzzed_heads.py $(ARGS)

# What a request costs, beside others that do the same job. ARGS=--save writes benchmarks/results/VERSION.json and .md.
bench: install
	$(BIN)/python -m benchmarks $(ARGS)

# The picture of saved results, benchmarks/results/VERSION.svg.
plots: install
	@$(BIN)/python -c "import matplotlib" 2>/dev/null || $(BIN)/python .ci/install.py $(VENV) plots
	@$(BIN)/python -m benchmarks.plots $(ARGS)

# A million requests while tokens, owners and policies change, compared both ways; then a worker's memory.
soak: install
	$(BIN)/python -m benchmarks.soak $(ARGS)

# A thousand seeds of the gateway under simulated faults (docs/development/testing.md). ARGS="--seed 7" replays one.
simulate: install
	@$(BIN)/python -m tests.simulation $(ARGS)

# The table of docs/operations/faults.md, with real processes. ARGS=--write writes it.
faults: install
	@$(BIN)/python -m tests.faults $(ARGS)

# What a million tokens cost Redis, in bytes and in time.
scale: install
	$(BIN)/python -m benchmarks.scale --tokens 1000000 $(ARGS)

# What it costs to start a command, and the gateway.
startup: install
	$(BIN)/python -m benchmarks.startup $(ARGS)

clean:
	rm -rf .venv .venv-* dist .mypy_cache .pytest_cache .ruff_cache .hypothesis coverage
