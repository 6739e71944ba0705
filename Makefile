# Every target does its own set-up: virtual environment, locked packages, and the peers it runs against.
# Needs Python 3.11 to 3.14 and, for the peers, Debian and root.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
.NOTPARALLEL:
.DEFAULT_GOAL := help

PYTHON ?= python3
ENGINE ?= auto
FUZZ_SECONDS ?= 600
BENCH_FLAGS ?=
EVALUATE_FLAGS ?=
LOCK_FLAGS ?=
PYTEST_FLAGS ?=
RELEASE_FLAGS ?=
TEST_PROCESSES ?= 3

venv := .venv
venvs := .venv-pythons
python := $(venv)/bin/python
installed := $(venv)/.installed
pip := $(python) -m pip --quiet --quiet --disable-pip-version-check
uv_version := 0.13.9
# More processes than the two cores that are expected: much of the time is spent waiting for other programs.
side_by_side = --numprocesses $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder
# What rests on insides of aiohttp and asyncio, which differ from Python to Python.
connection_tests := tests/unit/proxy/wire tests/unit/proxy/bodies tests/unit/proxy/store tests/lab/test_private_names.py \
    $(patsubst %,tests/integration/test_%.py, \
    wire downloads uploads tls registry_tls hostile_clients hostile_upstreams unread_answers)
lock_format := --universal --python-version 3.11 --generate-hashes \
    --no-header --no-annotate --no-emit-index-url --no-emit-find-links

.PHONY: help
help: ## Show this help.
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16
	echo
	echo "  Variables: PYTHON=python3.13  ENGINE=docker|podman|skopeo (demo)  PYTEST_FLAGS='-k cli' (test)"
	echo "             TEST_PROCESSES=0 (test, test-fast; one test at a time)"
	echo "             BENCH_FLAGS='--seconds 3' (bench)  EVALUATE_FLAGS='--parts pulls' (evaluate)"
	echo "             LOCK_FLAGS=--upgrade (lock)"
	echo "             RELEASE_FLAGS='--base IMAGE' (release)"

.PHONY: demo
demo: $(installed) peers ## Build, push and pull partitions of a 2DFS image with real parts, in under a minute.
	@$(python) deploy/demo/demo.py --engine $(ENGINE)

.PHONY: test
test: $(installed) peers todays-engines empty-debian helm-program ## Run all tests, three at a time, against a real registry, Redis and container engines.
	@$(python) -m pytest $(side_by_side) $(PYTEST_FLAGS)

.PHONY: test-fast
test-fast: $(installed) ## Run the tests that need neither root nor peers, in a good minute.
	@export TWODFS_TEST_WITHOUT=openssl,redis-server
	$(python) -m pytest $(side_by_side) $(PYTEST_FLAGS) tests/unit tests/property tests/test_architecture.py

.PHONY: test-pythons
test-pythons: peers ## Run the tests of connections on every Python 3.11 to 3.14 that is here (PATH, pyenv), in minutes each.
	@missing=() failed=()
	for version in 3.11 3.12 3.13 3.14; do
	    python=
	    for one in $$(type -aP python$$version) $$(ls -rv ~/.pyenv/versions/$$version.*/bin/python$$version 2>/dev/null); do
	        if "$$one" -c 'import ensurepip, ssl' 2>/dev/null; then python=$$one; break; fi
	    done
	    if [ -z "$$python" ]; then missing+=($$version); continue; fi
	    echo "== $$("$$python" --version), $$python"
	    $(MAKE) --no-print-directory PYTHON="$$python" venv=$(venvs)/$$version $(venvs)/$$version/.installed
	    $(venvs)/$$version/bin/python -m pytest --quiet $(side_by_side) $(PYTEST_FLAGS) $(connection_tests) ||
	        failed+=($$version)
	done
	if [ "$${missing[*]}" ]; then echo "Not here, so not tried: Python $${missing[*]}"; fi
	if [ "$${failed[*]}" ]; then echo "Failed: Python $${failed[*]}" >&2; exit 1; fi

.PHONY: test-install
test-install: $(installed) peers empty-debian helm-program ## Install on an empty Debian in each documented way, from a clone too, in minutes.
	@$(python) -m pytest -m 'clone or not clone' $(PYTEST_FLAGS) tests/deploy/test_installation.py

.PHONY: check
check: $(installed) ## Lint, check the formatting, check the types.
	@$(venv)/bin/ruff check --quiet
	$(venv)/bin/ruff format --check --quiet
	$(venv)/bin/mypy

.PHONY: fuzz
fuzz: $(installed) ## Try the parsers with made-up input for ten minutes and count (FUZZ_SECONDS=60).
	@$(python) -m tests.property.fuzz --seconds $(FUZZ_SECONDS)

.PHONY: bench
bench: $(installed) peers ## Measure manifest requests: partition, pass-through, registry alone.
	@$(python) -m benchmarks.manifests $(BENCH_FLAGS)

.PHONY: bench-fields
bench-fields: $(installed) peers ## Measure fields of a hundred to a million cells.
	@$(python) -m benchmarks.fields $(BENCH_FLAGS)

.PHONY: bench-pulls
bench-pulls: $(installed) peers ## Measure docker pull of a partition beside the same image made beforehand.
	@$(python) -m benchmarks.pulls $(BENCH_FLAGS)

.PHONY: bench-registries
bench-registries: $(installed) peers ## Measure one registry while another hangs, beside the same while none does.
	@$(python) -m benchmarks.registries $(BENCH_FLAGS)

.PHONY: bench-build
bench-build: $(installed) peers todays-engines ## Measure builds and pushes beside hashing and curl, and beside Docker.
	@$(python) -m benchmarks.build $(BENCH_FLAGS)

.PHONY: bench-profile
bench-profile: $(installed) peers ## Draw flame graphs of the proxy that answers manifests.
	@$(python) -m benchmarks.flames $(BENCH_FLAGS)

.PHONY: bench-all
bench-all: $(installed) peers todays-engines ## Measure everything but the evaluation, some 40 minutes, and write docs/performance.md.
	@for one in manifests fields pulls registries blobs edge edge_store fleet soak flames build; do
	    echo "== $$one"
	    $(python) -m benchmarks.$$one
	done
	$(python) -m benchmarks.report

.PHONY: evaluate
evaluate: $(installed) peers todays-engines ## Redo the papers' evaluations and more, in under 40 minutes, and write docs/evaluation.md.
	@$(python) -m benchmarks.evaluation $(EVALUATE_FLAGS)

.PHONY: performance-docs
performance-docs: $(installed) ## Write docs/performance.md and its plots from what was measured last.
	@$(python) -m benchmarks.report

.PHONY: chart-docs
chart-docs: $(installed) ## Write the chart's README and the schema of its config from their sources.
	@$(python) helm/chart_docs.py
	$(python) helm/config_schema.py

.PHONY: chart-golden
chart-golden: $(installed) helm-program ## Write down anew what the chart renders; look at the difference.
	@TWODFS_UPDATE_GOLDEN=1 $(python) -m pytest --quiet --quiet tests/deploy/test_chart.py -k reviewed

.PHONY: compatibility-docs
compatibility-docs: $(installed) peers todays-engines ## Write docs/compatibility.md from what today's engines do now.
	@TWODFS_UPDATE_COMPATIBILITY=1 $(python) -m pytest --quiet --quiet tests/integration/test_todays_engines.py

.PHONY: bench-blobs
bench-blobs: $(installed) peers ## Measure blobs beside nginx's: throughput, processor time, memory.
	@$(python) -m benchmarks.blobs $(BENCH_FLAGS)

.PHONY: bench-edge
bench-edge: $(installed) peers ## Measure an edge node beside nginx, and what crosses a thin line to a site of devices.
	@$(python) -m benchmarks.edge $(BENCH_FLAGS)

.PHONY: soak
soak: $(installed) peers ## Load one proxy for minutes; fails when memory or open files grow.
	@$(python) -m benchmarks.soak $(BENCH_FLAGS)

.PHONY: bench-fleet
bench-fleet: $(installed) peers ## Let a fleet pull from one proxy process, and forecast what 10,000 nodes need.
	@$(python) -m benchmarks.fleet $(BENCH_FLAGS)

.PHONY: release
release: $(installed) peers ## Make wheels, source, image archive, chart, bill of materials and checksums in dist/.
	@$(python) deploy/release/release.py $(RELEASE_FLAGS)

.PHONY: lock
lock: $(python) ## Write the lock files anew, keeping pins that still fit (LOCK_FLAGS=--upgrade: none).
	@$(pip) install uv==$(uv_version)
	compile=($(venv)/bin/uv --no-config pip compile pyproject.toml --quiet $(LOCK_FLAGS) $(lock_format))
	"$${compile[@]}" --output-file requirements.lock
	"$${compile[@]}" --all-extras --constraint requirements.lock --output-file requirements-all.lock
	"$${compile[@]}" --all-extras --group dev --constraint requirements.lock --output-file requirements-dev.lock

.PHONY: clean
clean: ## Remove the virtual environment, caches and build results.
	@rm -rf $(venv) $(venvs) .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: peers
peers:
	@tests/lab/install-peers.sh

.PHONY: todays-engines
todays-engines:
	@tests/lab/install-todays-engines.sh >/dev/null

.PHONY: empty-debian
empty-debian:
	@tests/lab/install-empty-debian.sh >/dev/null

.PHONY: helm-program
helm-program: $(installed)
	@$(python) tests/lab/install_helm.py >/dev/null

$(python):
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' || {
	    echo "make: $(PYTHON) is not Python 3.11 to 3.14; name one that is: make PYTHON=python3.13" >&2
	    exit 1
	}
	if ! $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then
	    if [ "$$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
	        echo "make: $(PYTHON) cannot make virtual environments; install its venv (Debian: python3-venv)" >&2
	        exit 1
	    fi
	    echo "Installing python3-venv"
	    export DEBIAN_FRONTEND=noninteractive
	    apt-get update --quiet --quiet
	    apt-get install --quiet --quiet --yes --no-install-recommends python3-venv >/dev/null
	fi
	$(PYTHON) -m venv $(venv)

$(installed): requirements-dev.lock pyproject.toml | $(python)
	@echo "Installing the locked packages into $(venv)"
	$(pip) install --require-hashes --requirement requirements-dev.lock
	$(pip) install --no-deps --no-build-isolation --editable .
	# An editable install compiles nothing, and where PYTHONDONTWRITEBYTECODE is set each start would do it again.
	$(python) -m compileall -q twodfs proxy tests benchmarks
	touch $@
