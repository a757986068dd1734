# make run: everything, from an empty checkout to the open page. make test: all tests.
SHELL := /bin/bash
export OMP_WAIT_POLICY := PASSIVE
export GRADIO_ANALYTICS_ENABLED := False
export HF_HUB_DISABLE_TELEMETRY := 1

PY := .venv/bin/python
# A name on the PATH may be a stub that only tells where to get Python, so each is tried.
PYTHON ?= $(shell for p in python3.11 /usr/bin/python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null && echo $$p && break; done)
# What `make gpu` runs with: the interpreter of the machine, as it is.
GPU_PYTHON ?= python3
STAGE ?= check
ARGS ?=
CLIP ?= .cache/sample/cityCC0.mpg
BENCH ?= realtime

.PHONY: help setup setup-test run test lint gpu bench replay doctor clean python

help:
	@echo "make run      set up, then open the assistant (ARGS=\"--model nano --source camera:0\")"
	@echo "make setup    only the set-up"
	@echo "make test     set up, lint, all tests"
	@echo "make lint     ruff"
	@echo "make doctor   what was found, what is missing, and the mend"
	@echo "make replay   a clip as JSON lines (CLIP=file ARGS='--ask \"2:What is there?\"')"
	@echo "make bench    a measurement (BENCH=realtime ARGS=--quick)"
	@echo "make gpu      on a machine with a GPU (STAGE=check, bench or train)"
	@echo "make clean    remove .venv and .cache"

python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 was not found. Debian 12: apt install python3 python3-venv;" \
	  "elsewhere python.org, Homebrew, conda or pyenv have it. Or name it: make run PYTHON=/path/to/python3.11" >&2; exit 1; }

setup: python
	@$(PYTHON) tools/setup.py

setup-test: python
	@$(PYTHON) tools/setup.py --test

run: setup
	@$(PY) app.py $(ARGS) || [ $$? -eq 130 ]   # Ctrl-C is how one leaves

test: setup-test lint
	$(PY) -m pytest -n 2 --dist loadgroup $(ARGS)

lint:
	$(PY) -m ruff check .

doctor:
	@$(PY) -m streamassist doctor

replay:
	@$(PY) -m streamassist replay "$(CLIP)" $(ARGS)

bench:
	$(PY) -m benchmarks.$(BENCH) $(ARGS)

gpu:
	@$(GPU_PYTHON) tools/gpu.py $(STAGE)

clean:
	rm -rf .venv .cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
