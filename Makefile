# `make sweep` and `make test` set everything up on their own: .venv is made when it is missing or older than pyproject.toml.
PYTHON ?= python3
BIN := .venv/bin

# Tests wait for processes half of the time: four share two cores. Those of one group stay together.
SHARED := -n 4 --dist loadgroup --no-loadscope-reorder

.PHONY: sweep test test-quick check format clean
sweep: .venv/.installed            ## run the quickstart sweep: real images, real actors, figure and tables on disk
	$(BIN)/python -m orchestrator.sweep

test: .venv/.installed             ## run the tests
	$(BIN)/python -m pytest $(SHARED)

test-quick: .venv/.installed       ## run the quick ones: no Ray, no other process, no report
	$(BIN)/python -m pytest $(subst 4,2,$(SHARED)) -m 'not (cluster or ray or slow)'

check: .venv/.installed            ## lint, format and type checks
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

format: .venv/.installed           ## apply formatting and safe fixes
	$(BIN)/ruff check --fix . && $(BIN)/ruff format .

clean:                             ## remove the environment (results/ stays)
	rm -rf .venv

# --compile-bytecode: Ray starts many processes, and each would compile torch anew where Python may not write.
.venv/.installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 14) else "Python 3.11 to 3.13 is needed, this is %d.%d: try make PYTHON=python3.12" % sys.version_info[:2])'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -e '.[dev]'
	touch $@
