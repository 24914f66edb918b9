# One .venv in the project's root, made from constraints.txt; needs make and Python 3.11 or newer.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Where the TSS headers are installed, the device with a TPM is tried, too (extra [tpm]).
TPM := $(shell pkg-config --exists tss2-esys 2>/dev/null && echo ,tpm)
STAMP := $(VENV)/.stamp$(TPM)
JOBS ?= 2
SECONDS ?= 60
TARGET ?=
PYTEST_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo test check bench fuzz docs fmt build conformance clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "make: $(PYTHON) is older than 3.11; say PYTHON=/path/to/python3.11" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "setting up $(VENV) (once)" >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --constraint constraints.txt --editable '.[dev$(TPM)]'
	@touch $@

demo: $(STAMP) ## from a vendor's seed to enrolled devices, on loopback
	@$(BIN)/brski-lab demo $(ARGS)

test: $(STAMP) ## every test
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(PYTEST_ARGS)

check: $(STAMP) ## the fast gates: format, lint, types, import contracts, spelling, traceability
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/python -m tests.kit.check_traceability

conformance: $(STAMP) ## every test, and docs/conformance.md from what they show
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal --conformance docs/conformance.md $(PYTEST_ARGS)

bench: $(STAMP) ## measurements, as ratios taken in one run
	$(BIN)/python -m benchmarks $(ARGS)

fuzz: $(STAMP) ## each parser of strangers' octets for SECONDS=60, or of TARGET="csr voucher" alone
	@$(BIN)/python -c 'import atheris' 2>/dev/null || $(BIN)/python -m pip install --quiet \
	  --disable-pip-version-check --constraint constraints.txt --editable '.[dev$(TPM),fuzz]'
	@$(BIN)/python -m tests.fuzz --seconds $(SECONDS) $(TARGET)

docs: $(STAMP) ## HTML pages in docs/_build
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html
	$(BIN)/sphinx-build -W --keep-going -q -b doctest docs docs/_build/doctest

fmt: $(STAMP) ## format the sources
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

build: $(STAMP) ## wheel and sdist in dist/
	$(BIN)/python -m build --no-isolation .

clean: ## remove what the targets made
	rm -rf $(VENV) dist docs/_build
