# make run    the embedded cascade on the problems that ship with escalade; ARGS are those of `escalade run`
# make test   lint, types, tests, the published commands, an end-to-end run of the smallest real model
# make bench  all benchmarks
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?= --limit 12
# A fallen-behind pip would only say so; the locks decide what is installed.
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install --progress-bar off

.PHONY: run test bench lock clean

run: $(VENV)/.run
	$(BIN)/escalade models pull
	$(BIN)/escalade run --store runs/embedded.sqlite --out runs/embedded $(ARGS)

test: $(VENV)/.dev
	$(BIN)/escalade models pull --pool tiny 135M
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest
	$(BIN)/python router_code/test_cascade_parser_standalone.py
	$(BIN)/python -m benchmarks

bench: $(VENV)/.dev
	@for name in $$($(BIN)/python -m benchmarks --names); do $(BIN)/python -m benchmarks $$name || exit 1; done

$(VENV)/.run: pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(PIP) -r requirements.lock
	$(PIP) --no-deps --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements-dev.lock
	$(PIP) -r requirements-dev.lock
	@touch $@

# The newest versions within the bounds of pyproject.toml, from an environment of their own.
lock:
	rm -rf $(VENV)-lock && $(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install --quiet '.[local]'
	$(VENV)-lock/bin/python -m pip freeze --exclude escalade > requirements.lock
	$(VENV)-lock/bin/python -m pip install --quiet '.[local,dev]'
	$(VENV)-lock/bin/python -m pip freeze --exclude escalade > requirements-dev.lock
	rm -rf $(VENV)-lock

clean:
	rm -rf $(VENV) $(VENV)-lock .pytest_cache .mypy_cache .ruff_cache
