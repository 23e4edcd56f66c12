# make run    build, start the service on the built-in simulated venue, show live decisions (DEMO_SECONDS=n stops by itself)
# make test   build, run the default tests
# make help   everything else

VENV ?= .venv
DEBUG_VENV ?= .venv-debug
LOWEST_VENV ?= .venv-lowest
QUICKFIX_VENV ?= .venv-quickfix
PY := $(VENV)/bin/python
DEMO_SECONDS ?=
DEMO_ADDRESS ?=
SEED ?= 7
SOAK_SECONDS ?= 3600
SOAK_CALLS ?= 10000000
FUZZ_SECONDS ?= 300
FUZZ ?=
PYTEST_ARGS ?=
CLIENTS_ARGS ?=
BUF := npx --yes @bufbuild/buf@1.75.0
BASELINE := proto/v1.binpb
# Test files side by side; WORKERS=0: one after the other. A good part of their time is waiting, for sockets, timers and
# children: one process more than cores, at most four.
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
DEFAULT_TESTS := -m "not slow and not alone" -n $(WORKERS) --maxprocesses 4 --dist loadfile
# Whole runs that say themselves when they have not got their cores.
ALONE_TESTS := -m "alone and not slow" -n 0
# Every core has a process: threads of numerical libraries would only wait for each other. To rewrite the assertions of
# all tests takes a process some 17 s: kept from run to run, also where the environment
# says otherwise.
TEST_ENV := OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=
# By the interpreter $(1). PYTEST_ARGS may leave one of the two parts without a test (5), not both.
tests = many=0; $(TEST_ENV) $(1) -m pytest $(DEFAULT_TESTS) $(PYTEST_ARGS) || many=$$?; \
	test $$many = 0 || test $$many = 5 || exit $$many; \
	alone=0; $(TEST_ENV) $(1) -m pytest $(ALONE_TESTS) $(PYTEST_ARGS) || alone=$$?; \
	test $$alone = 0 || { test $$alone = 5 && test $$many = 0; } || exit $$alone

SOURCES := setup.py pyproject.toml clients/python/pyproject.toml tools/setup.sh \
	$(shell find core server clients/python -type f \( -name '*.py' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.pyi' -o -name '*.json' \))

.PHONY: run test test-debug test-lowest test-slow test-fix test-clients fuzz soak soak-rpc bench lint types proto proto-check proto-baseline clients clean help

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile
	@printf '%s\n' \
	  'make test-debug  default tests on the checked (debug) build of the Cython code' \
	  'make test-lowest default tests with every dependency at its lower bound, on Python 3.11' \
	  'make test-slow   long fuzz runs' \
	  'make fuzz        coverage-guided fuzzing of every decoder with sanitizers (FUZZ_SECONDS=300 each; FUZZ="itch mold": these)' \
	  'make test-fix    the FIX feed against QuickFIX, in an environment of its own (builds it: ten minutes or more)' \
	  'make test-clients  both gRPC front ends against clients that others wrote, built as far as there are compilers' \
  'make soak        an hour (SOAK_SECONDS) of every feed against its simulated venue, with faults at random' \
  'make soak-rpc    10 million calls (SOAK_CALLS) to one service, whose memory must stay as it is (h2load)' \
  'make bench       quotelife bench engine decide, on recorded data where it is found, else simulated' \
	  'make lint        ruff' \
	  'make types       mypy (strict)' \
	  'make proto       regenerate the protobuf stubs; make proto-check compares them, runs buf lint and buf breaking' \
	  'make proto-baseline  at a release: writes what buf breaking compares with, proto/v1.binpb' \
	  'make clients     install the client alone in a clean environment and use it' \
	  'make clean       remove builds and environments'

# Two stamps a build: the run-time set is enough for `make run`, the tests need the development set on top.
$(VENV)/.run-stamp: $(SOURCES)
	@tools/setup.sh $(VENV) release server
	@touch $@

$(VENV)/.dev-stamp: $(SOURCES)
	@tools/setup.sh $(VENV) release server,dev
	@touch $(VENV)/.run-stamp $@

$(DEBUG_VENV)/.dev-stamp: $(SOURCES)
	@tools/setup.sh $(DEBUG_VENV) debug server,dev
	@touch $@

$(LOWEST_VENV)/.dev-stamp: $(SOURCES) tools/lower_bounds.py
	@mkdir -p build && python3.11 tools/lower_bounds.py > build/lowest.txt
	@PYTHON=python3.11 CONSTRAINTS=build/lowest.txt tools/setup.sh $(LOWEST_VENV) release server,dev
	@touch $@

run: $(VENV)/.run-stamp
	@$(VENV)/bin/quotelife demo --seed $(SEED) $(if $(DEMO_SECONDS),--seconds $(DEMO_SECONDS)) \
		$(if $(DEMO_ADDRESS),--address $(DEMO_ADDRESS))

test: $(VENV)/.dev-stamp
	@$(call tests,$(PY))

test-debug: $(DEBUG_VENV)/.dev-stamp
	@$(call tests,$(DEBUG_VENV)/bin/python)

test-lowest: $(LOWEST_VENV)/.dev-stamp
	@$(call tests,$(LOWEST_VENV)/bin/python)

test-slow: $(VENV)/.dev-stamp
	$(PY) -m pytest -m slow $(PYTEST_ARGS)

test-fix: $(VENV)/.dev-stamp
	@test -x $(QUICKFIX_VENV)/bin/python || python3 -m venv $(QUICKFIX_VENV)
	@$(QUICKFIX_VENV)/bin/pip install -q 'quickfix>=1.16.0'
	QUOTELIFE_QUICKFIX=$(QUICKFIX_VENV)/bin/python $(PY) -m pytest -m slow tests/interop $(PYTEST_ARGS)

test-clients: $(VENV)/.dev-stamp
	PYTHONPATH=tests $(PY) -m interop.grpc_clients $(CLIENTS_ARGS)

soak: $(VENV)/.dev-stamp
	PYTHONPATH=tests $(PY) -m soak --seconds $(SOAK_SECONDS) --seed $(SEED) --directory build/soak

soak-rpc: $(VENV)/.dev-stamp
	PYTHONPATH=tests $(PY) -m soak.calls --calls $(SOAK_CALLS)

fuzz: $(VENV)/.dev-stamp
	$(PY) tools/fuzz.py --seconds $(FUZZ_SECONDS) $(FUZZ)

bench: $(VENV)/.run-stamp
	$(VENV)/bin/quotelife bench engine decide --json $(if $(wildcard ../shared/data/binance),--data ../shared/data)

lint: $(VENV)/.dev-stamp
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(VENV)/.dev-stamp
	$(VENV)/bin/mypy

proto:
	python3 tools/gen_proto.py

proto-check:
	python3 tools/gen_proto.py --check
	$(BUF) lint
	$(BUF) breaking --against $(BASELINE)

# What clients of the last release rely on. What was added since may still change.
proto-baseline:
	$(BUF) build --exclude-source-info -o $(BASELINE)

clients:
	tools/check_client.sh

clean:
	rm -rf build dist $(VENV) $(DEBUG_VENV) $(LOWEST_VENV) .mypy_cache .ruff_cache .pytest_cache *.egg-info clients/python/*.egg-info
