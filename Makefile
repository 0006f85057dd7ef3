# Set-up, demo and tests; "make" alone lists the commands. The environment is made once and again when
# pyproject.toml or constraints.txt change. pip's own settings (PIP_INDEX_URL, PIP_FIND_LINKS …) are honoured.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help venv demo scan gui test lint format clean

PYTHON ?= python3
OUT ?= results

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
SAMPLE := Resources/SampleData/CTForgeryScanSample.nrrd
REAL_CT := .cache/lung1_image.nrrd

# Prints the version of the torch that is there; fails when none is or when it is too old.
TORCH_HERE := from importlib.metadata import version; v = version("torch"); assert [int(n) for n in v.split(".")[:2]] >= [2, 4]; print(v)

help: ## list these commands
	@echo "make COMMAND, where COMMAND is"
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do printf '  %-8s %s\n' "$$name" "$$text"; done

venv: $(READY) ## make the virtual environment .venv (a torch that is already installed is kept)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "Python 3.11 or newer is needed and '$(PYTHON)' is not: name one with make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { \
	    if $(PYTHON) -c '$(TORCH_HERE)' >/dev/null 2>&1; then site=--system-site-packages; else site=; fi; \
	    $(PYTHON) -m venv $$site $(VENV); } || { \
	    echo "'$(PYTHON) -m venv' failed: on Debian and Ubuntu run 'apt-get install python3-venv', then make again." >&2; exit 1; }
	@torch=$$($(BIN)/python -c '$(TORCH_HERE)' 2>/dev/null || true); \
	    if [ -n "$$torch" ]; then sed "s/^torch==.*/torch==$$torch/" constraints.txt; else cat constraints.txt; fi > $(VENV)/constraints.txt
	@echo "Installing into $(VENV), once; this takes a few minutes."
	@$(PIP) install -c $(VENV)/constraints.txt setuptools
	@$(PIP) install -c $(VENV)/constraints.txt --no-build-isolation --editable '.[test]'
	@touch $@

# The real CT in float32: every processor then gives the same numbers.
demo: $(READY) ## scan the bundled sample, then a real untouched CT if it can be fetched; results in demo-results/
	$(BIN)/ctforgeryscan scan $(SAMPLE) -o demo-results
	@echo; $(BIN)/python -m training.fetch_real_ct $(REAL_CT) || { echo "Going on without the real CT."; exit 0; }; \
	    echo "$(BIN)/ctforgeryscan scan $(REAL_CT) -o demo-results --precision float32"; \
	    $(BIN)/ctforgeryscan scan $(REAL_CT) -o demo-results --precision float32 || exit 1; \
	    grep -qs '"verdict": "no_tampering_found"' demo-results/lung1_image/result.json || { \
	        echo "The real CT is untouched and should have come out as no_tampering_found: the detector erred." >&2; exit 1; }
	@echo; echo "The results and their pictures are in $(CURDIR)/demo-results"

scan: $(READY) ## scan a CT of yours: make scan CT=path [OUT=results]
	@test -n "$(CT)" || { echo "Say which CT: make scan CT=path [OUT=folder]" >&2; exit 2; }
	$(BIN)/ctforgeryscan scan "$(CT)" -o "$(OUT)"

gui: $(READY) ## open the module on the bundled sample, in a stand-in for 3D Slicer
	PYTHONPATH=Testing $(BIN)/python -m SlicerHost --additional-module-paths CTForgeryScan --select CTForgeryScan --load $(SAMPLE)

test: lint ## style, types and every test
	$(BIN)/python -m pytest -q Testing/Python

lint: $(READY) ## style and types only
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

format: $(READY) ## put the code into the house style
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

clean: ## remove what the commands made, but for .venv and results
	rm -rf .cache demo-results build *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find CTForgeryScan CTForgeryScanLib Testing training -name __pycache__ -type d -prune -exec rm -rf {} +
