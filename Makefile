# Two commands do all the set-up on a fresh machine that has python3 and make:
#   make demo   fits, ablates and analyses the built-in model, and says what was found
#   make test   lint, format, types and tests

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# torch comes from constraints.txt first, so that nothing pulls in a larger build of it.
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test lint types unit clean

demo: $(VENV)/.installed
	$(BIN)/chg demo

test: $(VENV)/.installed-dev lint types unit

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

unit: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) torch
	$(INSTALL) -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(INSTALL) -e ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) demo_output
