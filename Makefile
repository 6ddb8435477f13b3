# Each target does all its set-up: a virtualenv of its own with pinned versions. Needs Python >= 3.11.

VENV := .venv
BIN := $(VENV)/bin
CONSTRAINTS := packaging/constraints.txt
FIND_PYTHON := for python in $(PYTHON) python3 python3.13 python3.12 python3.11; do \
	"$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { echo "$$python"; break; }; done

# What is compiled is kept, whatever is set: the suite starts Python some hundred times.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test check format storm fleet campaign bench clean

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.demo  ## The whole thing on this machine, against a Kinesis of its own
	$(BIN)/kagent demo

test: $(VENV)/.dev  ## The test suite
	$(BIN)/pytest -n auto --dist worksteal $(ARGS)

check: $(VENV)/.dev  ## Formatting, lint and types
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

format: $(VENV)/.dev  ## Format the code
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

storm: $(VENV)/.dev  ## Rotations, kill -9, refused records and lost answers, together
	$(BIN)/python tests/campaign/storm.py $(ARGS)

fleet: $(VENV)/.dev  ## Many agents and one stream, simulated: capacity used, fairness, refusals
	$(BIN)/python tests/test_pace_fleet.py $(ARGS)

campaign: $(VENV)/.dev  ## A million lines under each packing, through all faults; each rotation of logrotate, each mishap
	$(BIN)/python tests/campaign/million.py $(ARGS)
	$(BIN)/python tests/campaign/rotations.py
	$(BIN)/python tests/campaign/mishaps.py

bench: $(VENV)/.dev  ## CPU and memory, of lines, files and preprocessors, beside plain ways
	$(BIN)/python tests/benchmarks/bench.py $(ARGS)

clean:  ## Remove the virtualenv and every cache
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage

$(VENV)/.demo: pyproject.toml $(CONSTRAINTS)
	$(call install,demo)

$(VENV)/.dev: pyproject.toml $(CONSTRAINTS)
	$(call install,dev)

define install
	@python=$$($(FIND_PYTHON)); test -n "$$python" || { \
		echo "kagent needs Python >= 3.11 with venv (Debian: apt-get install python3-venv)" >&2; exit 1; }; \
	test -x $(BIN)/python || "$$python" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint $(CONSTRAINTS) --editable '.[$(1)]'
	@touch $@
endef
