# make run    the embedded cascade on the problems that ship with escalade; ARGS are those of `escalade run`
# make test   lint, types, tests, the published commands, an end-to-end run of the smallest real model
# make bench  all benchmarks
# make test-faults   the full fault suite: 200 kills, 10,000 requests to a failing server, 1,000 runs with limits (10 minutes)
# make test-vllm   the engines vllm and transformers and what reads states by the latter, with vLLM's CPU build in an environment of its own (4 GB); not in CI
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?= --limit 12
# A fallen-behind pip would only say so; the locks decide what is installed.
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install --progress-bar off

.PHONY: run test test-faults test-vllm bench lock clean

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

test-faults: $(VENV)/.dev
	$(BIN)/escalade models pull --pool tiny 135M
	ESCALADE_FAULTS=full $(BIN)/python -m pytest -s --durations=0 tests/faults

# Libraries of this size warn of much that is not ours.
test-vllm: $(VENV)-vllm/.ready
	$(VENV)-vllm/bin/python -m pytest -W default tests/engines/test_vllm.py tests/engines/test_transformers.py
	$(VENV)-vllm/bin/python -m pytest -W default tests/engines/test_conformance.py -k "vllm or transformers"
	$(VENV)-vllm/bin/python -m pytest -W default tests/probes/test_states.py -k transformers

bench: $(VENV)/.dev
	@for name in $$($(BIN)/python -m benchmarks); do $(BIN)/python -m benchmarks $$name || exit 1; done

$(VENV)/.run: pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(PIP) -r requirements.lock
	$(PIP) --no-deps --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements-dev.lock
	$(PIP) -r requirements-dev.lock
	@touch $@

# Without dependencies: vLLM's CPU build asks for libraries of pictures and sound that it does not need here.
$(VENV)-vllm/.ready: pyproject.toml requirements-vllm.lock
	$(PYTHON) -m venv $(VENV)-vllm
	PIP_DISABLE_PIP_VERSION_CHECK=1 $(VENV)-vllm/bin/python -m pip install --progress-bar off --no-deps -r requirements-vllm.lock
	PIP_DISABLE_PIP_VERSION_CHECK=1 $(VENV)-vllm/bin/python -m pip install --progress-bar off --no-deps --editable .
	@touch $@

# The newest versions within the bounds of pyproject.toml, from an environment of their own.
lock:
	rm -rf $(VENV)-lock && $(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install --quiet '.[local,evaluation,gateway,report,probes]'
	$(VENV)-lock/bin/python -m pip freeze --exclude escalade > requirements.lock
	$(VENV)-lock/bin/python -m pip install --quiet '.[local,evaluation,gateway,report,probes,dev]'
	$(VENV)-lock/bin/python -m pip freeze --exclude escalade > requirements-dev.lock
	rm -rf $(VENV)-lock

clean:
	rm -rf $(VENV) $(VENV)-lock $(VENV)-vllm .pytest_cache .mypy_cache .ruff_cache
