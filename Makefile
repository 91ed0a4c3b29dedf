# Two commands do all the set-up on a fresh machine that has python3 and make:
#   make demo   studies the built-in model, and says what was found
#   make test   lint, format, types, docs and tests
# and one builds the pages of docs/ as a site: make docs

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OLDEST := .venv-oldest
PIP := python -m pip install --quiet --disable-pip-version-check
# torch comes from constraints.txt first, so that nothing pulls in a larger build of it.
INSTALL := $(BIN)/$(PIP) -c constraints.txt
INSTALL_OLDEST := $(OLDEST)/bin/$(PIP) -c constraints-oldest.txt
# The tests that meet transformers; of those for every family, the ones that differ by release.
OLDEST_TESTS := $(patsubst %,tests/test_%.py,ablation architectures cli data fitting foreign \
	gate_wrapper placement) -k "not finite_differences and not padding and not equals_a_loop"

SUDO := $(if $(filter 0,$(shell id -u)),,sudo -n)
APT := $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get -q

.PHONY: demo test lint types docs oldest unit chromium clean

demo: $(VENV)/.installed
	$(BIN)/chg demo

test: $(VENV)/.installed-dev lint types docs oldest unit

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

# Into site/; a warning is an error, such as a link that leads nowhere.
docs: $(VENV)/.installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

oldest: $(OLDEST)/.installed
	$(OLDEST)/bin/python -m pytest -n 2 $(OLDEST_TESTS)

unit: $(VENV)/.installed-dev chromium
	$(BIN)/python -m pytest -n 2

# The browser that the report's page is tested in; where it cannot be had, those tests are skipped.
chromium:
	@command -v chromium || command -v chromium-browser || command -v google-chrome \
		|| { $(APT) update && $(APT) install -y --no-install-recommends chromium; } \
		|| echo "no Chromium here: the tests of the report's page will be skipped"

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) torch
	$(INSTALL) -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(INSTALL) -e ".[dev,docs]"
	touch $@

# All but transformers, and what it pins, is taken from the other environment.
$(OLDEST)/.installed: constraints-oldest.txt $(VENV)/.installed-dev
	$(PYTHON) -m venv $(OLDEST)
	$(BIN)/python -c "import site; print(site.getsitepackages()[0]); print('$(CURDIR)/src')" \
		> "$$($(OLDEST)/bin/python -c 'import site; print(site.getsitepackages()[0])')/shared.pth"
	$(INSTALL_OLDEST) transformers datasets
	touch $@

clean:
	rm -rf $(VENV) $(OLDEST) demo_output* site
