# Every target first sees to .venv (setup); `make help` lists them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.hwroute-setup
PARALLEL := -n auto --maxprocesses 8

ifneq ($(words $(wildcard hwroute/rtl/. hwroute/sim/. hwroute/models/.)),3)
$(error hwroute/{rtl,sim,models} must link to folders: git config core.symlinks true && git checkout -- hwroute)
endif

# Tests and replays run side by side; a thread a process is faster than threads that wait.
export OPENBLAS_NUM_THREADS := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# `make test` ends with the summary of its tests, also under -j.
.NOTPARALLEL:
.PHONY: help setup sim test lint test-fast test-cpp test-slow record-slow bench results verilog clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1|/p' Makefile | awk -F'|' '{ printf "make %-11s %s\n", $$1, $$2 }'

setup: $(STAMP) ## make .venv with everything that hwroute and its tests need

# What pip cannot install. Root on Debian gets it installed, others get the line that does it.
$(STAMP): pyproject.toml constraints.txt setup.py
	@missing=; \
	for program in g++ perl; do \
	  command -v $$program > /dev/null || missing="$$missing $$program"; \
	done; \
	command -v $(PYTHON) > /dev/null || missing="$$missing python3"; \
	$(PYTHON) -c 'import ensurepip' 2> /dev/null || missing="$$missing python3-venv"; \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
	    echo "setup: installing$$missing with apt-get"; \
	    apt-get update -qq && apt-get install -qq -y --no-install-recommends $$missing; \
	  else \
	    echo "setup: missing:$$missing; on Debian: sudo apt-get install$$missing" >&2; exit 3; \
	  fi; \
	fi
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "setup: Python 3.11 or newer is needed: make setup PYTHON=python3.11" >&2; exit 3; }
	@echo "setup: installing hwroute and what it needs into $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --upgrade --constraint constraints.txt pip
	@$(BIN)/python -m pip install -qq --constraint constraints.txt \
	  --build-constraint constraints.txt --editable . --group dev
	@touch $@

sim: setup ## generate text on the RTL in Verilator, for both K/V rules, compare every write
	$(BIN)/hwroute generate --on rtl --prompt "First Citizen:" -n 16
	$(BIN)/hwroute generate --on rtl --kv dense --prompt "First Citizen:" -n 16

test: lint ## lint, then every test but the slow ones
	$(BIN)/pytest $(PARALLEL) -m "not slow"

lint: setup ## ruff and mypy
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

test-fast: setup ## tests that build no simulator
	$(BIN)/pytest $(PARALLEL) -m "not cpp and not slow"

test-cpp: setup ## tests that build a simulator with the C++ compiler
	$(BIN)/pytest -m "cpp and not slow"

test-slow: setup ## full geometry and exhaustive tests
	$(BIN)/pytest -m slow

record-slow: setup ## the same, and write what came of them into docs/results
	$(BIN)/python -P tests/record_slow.py --out docs/results

bench: setup ## speeds of golden model, import and simulated machine, nothing passes or fails
	$(BIN)/python -m hwroute.models.bench
	$(BIN)/python -m hwroute.models.bench_import
	$(BIN)/python -m hwroute.sim.machine.bench

results: setup ## rewrite docs/results: quality, rounding, numerics, speeds, HBM, growth, u280, the paper
	$(BIN)/python -m hwroute.models.quality --out docs/results
	$(BIN)/python -m hwroute.models.importing.results --out docs/results
	$(BIN)/python -m hwroute.models.study --out docs/results
	$(BIN)/python -m hwroute.models.bench --out docs/results
	$(BIN)/python -m hwroute.sim.machine.bench --cold --out docs/results
	$(BIN)/python -m hwroute.sim.memory.study --out docs/results
	$(BIN)/python -m hwroute.sim.machine.growth --out docs/results
	$(BIN)/python -m hwroute.sim.performance.parity --out docs/results
	$(BIN)/python -m hwroute.sim.machine.full_layer --out docs/results
	$(BIN)/python -m hwroute.sim.performance.limits_study --out docs/results
	$(BIN)/python -m hwroute.sim.performance.reproduce --out docs/results

verilog: setup ## Verilog of the machine at demo size and a Vivado project, in build/verilog
	$(BIN)/hwroute verilog --output build/verilog --config demo

clean: ## remove what runs and tests wrote; .venv stays
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
