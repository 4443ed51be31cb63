# Everything a newcomer needs: `make demo`. Needs Python 3.11 or newer, make and git; no system Node, no root.

VENV := .venv
PYTHON := $(VENV)/bin/python
BOOTSTRAP := $(shell for p in python3.11 python3.12 python3.13 python3.14 python3; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done)
LOCKED := $(VENV)/.locked
INSTALLED := $(VENV)/.installed
BENCH ?= loop

.DEFAULT_GOAL := help
.PHONY: help setup demo test check bench web pictures client clean

help: ## Say what there is to make
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1|/' | awk -F'|' '{ printf "%-14s %s\n", $$1, $$2 }'

setup: $(INSTALLED) web ## Make .venv with everything in it, and build the page

demo: setup ## Run the whole plant on this machine with a simulated fleet
	$(VENV)/bin/shoal demo $(ARGS)

# Tests share the cores (those with servers of their own mostly wait for them), plants in stepped time too; those that keep an eye on the wall clock have the machine to themselves.
test: check ## Run every check and every test
ifeq ($(ARGS),)
	$(PYTHON) -m pytest -n 2 --dist loadfile tests/unit tests/property
	$(PYTHON) -m pytest -n 3 --dist loadfile tests/integration
	$(PYTHON) -m pytest -n 2 --dist loadgroup -m 'not alone' tests/e2e
	$(PYTHON) -m pytest -m alone tests/e2e
else
	$(PYTHON) -m pytest $(ARGS)
endif
	$(PYTHON) hatch_build.py test

check: setup ## Lint, format, types and the floors of the house
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

bench: setup ## Measure: make bench BENCH=loop ARGS='--quick --json'
	$(VENV)/bin/shoal bench $(BENCH) $(ARGS)

web: $(LOCKED) ## Build the page when its sources changed
	@$(PYTHON) hatch_build.py

pictures: setup ## Make the pictures of the documentation anew, from the stories of the page
	SHOAL_KEEP_PICTURES=1 $(PYTHON) -m pytest -q tests/e2e/page

client: setup ## Make the page's types of the interface anew from its contract
	@$(PYTHON) hatch_build.py client

clean: ## Remove what was built; the plant's data in .shoal stays
	rm -rf $(VENV) build dist web/node_modules src/shoal/api/static
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# Makes the environment anew when there is none or it is broken.
$(LOCKED): requirements.lock
	@$(PYTHON) -m pip --version >/dev/null 2>&1 || { \
		test -n "$(BOOTSTRAP)" || { echo "Python 3.11 or newer is needed: install it and run make again." >&2; exit 1; }; \
		$(BOOTSTRAP) -m venv --clear $(VENV); }
	@echo "Installing what Shoal needs into $(VENV); the first time takes a minute or two"
	@$(PYTHON) -m pip install -qq --requirement requirements.lock
	@touch $@

# The page is built by `web` before, so the build hook finds it up to date.
$(INSTALLED): pyproject.toml hatch_build.py $(LOCKED) | web
	@$(PYTHON) -m pip install -qq --no-build-isolation --no-deps --editable .
	@touch $@
