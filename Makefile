# make demo    install what is missing and run the whole chain on the pendulum (report in runs/demo)
# make test    install what is missing and run the tests
# make lint    format, style, types and import order
# make short   every example and every benchmark in its short form
# make bench   the benchmarks in full
# make falsify attack every certified loop, a million steps each
SHELL := /bin/bash
VENV ?= .venv
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
EXTRAS ?= dev

.DEFAULT_GOAL := help
.PHONY: help install install-bench demo test test-slow lint format short bench falsify clean

help:
	@grep '^# make' Makefile | sed 's/^# //'

$(INSTALLED): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "yannctl needs Python 3.11 to 3.13; install it and run make again"; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' \
		|| { echo "yannctl needs Python 3.11 to 3.13, found $$($(PYTHON) --version); name one with PYTHON=..."; exit 2; }
	@echo "installing into $(VENV) (once; a few minutes) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade -c constraints.txt pip setuptools
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[$(EXTRAS)]"
	@touch $@

install: $(INSTALLED)

# The peers are compared against, never imported by the package. PPOPT asks for Gurobi, which it does not need here,
# PC-Gym for simulators, of which only its file of models is read.
install-bench: $(INSTALLED)
	$(BIN)/python -m pip install --quiet -c constraints.txt cvxopt pathos numba jax
	$(BIN)/python -m pip install --quiet --no-deps -c constraints.txt ppopt pcgym
	$(BIN)/python -m pip install --quiet -c constraints.txt mujoco pandas cloudpickle
	$(BIN)/python -m pip install --quiet -c constraints.txt --no-deps stable-baselines3

demo: $(INSTALLED)
	$(BIN)/yannctl demo pendulum --out runs/demo

test: $(INSTALLED)
	$(BIN)/python -m pytest -q -n 2

test-slow: $(INSTALLED)
	$(BIN)/python -m pytest -q -n 2 -m slow

lint: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/pyright

format: $(INSTALLED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

short: $(INSTALLED)
	$(BIN)/python examples/run_all.py
	$(BIN)/yannctl bench mpqp --short
	$(BIN)/yannctl bench yann --short
	$(BIN)/yannctl bench pil --short
	$(BIN)/yannctl bench plants --short
	$(BIN)/yannctl bench learners --short
	$(BIN)/yannctl bench learning --short
	$(BIN)/yannctl falsify --short
	$(BIN)/yannctl hil chaos --short
	$(BIN)/yannctl demo pendulum --short --out runs/demo-short
	$(BIN)/yannctl eval cstr-setpoint --short --out runs/eval-short
	$(BIN)/yannctl eval robot-kappa6 --short --out runs/eval-short

bench: $(INSTALLED)
	$(BIN)/yannctl bench mpqp --out runs/bench/mpqp.json
	$(BIN)/yannctl bench yann --out runs/bench/yann.json
	$(BIN)/yannctl bench pil --out runs/bench/pil.json
	$(BIN)/yannctl bench plants --out runs/bench/plants.json
	$(BIN)/yannctl bench learners --rows runs/learners --out runs/bench/learners.json
	$(BIN)/yannctl bench learning --seeds 0-9 --rows runs/learning --out runs/bench/learning.json

falsify: $(INSTALLED)
	$(BIN)/yannctl falsify --out benchmarks/results/falsify.json

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
