# make install | demo | test | test-browser | soak | check | docs: each sets up what it needs, and is quick the second time.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: install demo test test-browser soak check format docs benchmark wheel-check walk-check lock sbom audit clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] < (3, 14) else "dlqsm needs Python 3.11 to 3.13; give another one with make PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	touch $(INSTALLED)

demo: $(INSTALLED)
	$(BIN)/dlqsm demo demo_out --overwrite

test: $(INSTALLED)
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -n 2 --cov --cov-report=term:skip-covered --cov-fail-under=90

test-browser: $(INSTALLED)
	PYTHON=$(BIN)/python sh scripts/browser_tests.sh

# Twenty minutes or more: the long versions of the tests. SOAK_LOG=FILE keeps what they print elsewhere.
SOAK_LOG ?= docs/soak.log
soak: $(INSTALLED)
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -m soak -n 2 -rA --durations=0 > $(SOAK_LOG) 2>&1; status=$$?; \
	  sed -i.bak -e 's|$(CURDIR)/*||g' -e 's|/[^ ]*/pytest-of-[^/]*/pytest-[0-9]*/||g' $(SOAK_LOG); rm -f $(SOAK_LOG).bak; tail -n 20 $(SOAK_LOG); exit $$status

check: $(INSTALLED)
	$(BIN)/ruff format --check src tests benchmarks examples scripts hatch_build.py
	$(BIN)/ruff check src tests benchmarks examples scripts hatch_build.py
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff format src tests benchmarks examples scripts hatch_build.py
	$(BIN)/ruff check --fix src tests benchmarks examples scripts hatch_build.py

docs: $(VENV)/.docs
	$(BIN)/python benchmarks/doc_tables.py --check
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

$(VENV)/.docs: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[docs]"
	touch $(VENV)/.docs

benchmark: $(INSTALLED)
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python benchmarks/acceptance.py

# Builds, installs the wheel into a fresh environment elsewhere (1.8 GB), and runs it; WHEEL_CHECK=FOLDER keeps that.
wheel-check: $(INSTALLED)
	$(BIN)/python scripts/wheel_check.py $(WHEEL_CHECK)

# The three walks of the documentation at full size from the built wheel in an empty environment: an hour or two.
walk-check: $(INSTALLED)
	$(BIN)/python scripts/walk_check.py $(or $(WALK_CHECK),walk_check)

# Needs uv. One file for all platforms and versions of Python; without the address of any index.
lock:
	uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  --upgrade --quiet --output-file requirements.lock
	sed -i '1i # Versions and hashes of all dependencies on every platform, made by make lock.' requirements.lock

# A bill of materials, CycloneDX 1.6, of what the lock holds. Not kept: it is made of the lock alone, in a minute.
sbom: $(VENV)/.audit
	mkdir -p dist
	$(BIN)/cyclonedx-py requirements requirements.lock --pyproject pyproject.toml --mc-type application \
	  --output-reproducible --spec-version 1.6 --output-format JSON --output-file dist/dlqsm.cdx.json

# Known vulnerabilities of the locked versions. Without a network it says that nobody could be asked, and ends well.
audit: $(VENV)/.audit
	$(BIN)/python scripts/audit.py

$(VENV)/.audit: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[audit]"
	touch $(VENV)/.audit

clean:
	rm -rf $(VENV) demo_out site walk_check .mypy_cache .ruff_cache .pytest_cache .hypothesis
