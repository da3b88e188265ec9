# Every target sets up its own virtual environment from requirements.lock; nothing else needs to be installed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
LABGRID := .venv-labgrid
LABGRID_READY := $(LABGRID)/.ready
JOBS ?= 4

# The tests start hundreds of Python processes: none of them should compile what another one has compiled.
unexport PYTHONDONTWRITEBYTECODE
export PYTHONPYCACHEPREFIX := $(CURDIR)/$(VENV)/pycache

.PHONY: help qualify nightly labgrid test lint types bench lock clean
help:
	@echo "make qualify  qualify OTA rollback on the boards of rig.toml, write reports/<time>/"
	@echo "make nightly  the whole night on all boards; NIGHTLY=\"--boards tag=lab\" chooses"
	@echo "make labgrid  labgrid's programs, for boards of other hosts (docs/labgrid.md)"
	@echo "make test     the harness's own tests"
	@echo "make lint     formatting, lint and types"
	@echo "make bench    speed, as tables"
	@echo "make lock     renew requirements.lock from pyproject.toml"

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed; set PYTHON=...")'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# labgrid brings a fork of pyserial under pyserial's name: it gets an environment of its own, and is run as a program.
$(LABGRID_READY): requirements-labgrid.lock
	$(PYTHON) -m venv --clear $(LABGRID)
	$(LABGRID)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-labgrid.lock
	@touch $@

labgrid: $(LABGRID_READY)

qualify: $(READY)
	$(BIN)/rig qualify

nightly: $(READY)
	$(BIN)/rig nightly $(NIGHTLY)

test: $(READY) $(LABGRID_READY)
	$(BIN)/python -m pytest -n $(JOBS) tests

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(READY)
	$(BIN)/python -m benchmarks

lock:
	$(PYTHON) -m venv --clear .venv-lock
	.venv-lock/bin/python -m pip install --quiet pip-tools
	.venv-lock/bin/pip-compile --quiet --strip-extras --allow-unsafe --generate-hashes --no-emit-index-url --no-emit-find-links \
	    --no-emit-trusted-host --extra dev --extra power --output-file requirements.lock pyproject.toml
	.venv-lock/bin/pip-compile --quiet --strip-extras --allow-unsafe --generate-hashes --no-emit-index-url --no-emit-find-links \
	    --no-emit-trusted-host --output-file requirements-labgrid.lock requirements-labgrid.in
	rm -rf .venv-lock

clean:
	rm -rf $(VENV) $(LABGRID) .venv-lock .pytest_cache .mypy_cache .ruff_cache .hypothesis .rig
