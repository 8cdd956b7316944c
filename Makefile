# Needs Python ≥ 3.11 with venv and pip, and make; every target sets up what it lacks in .venv.
# ARGS="…" goes to the program: make up ARGS="--for 30s -o json", make test ARGS="tests/net -x".

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# What a target prints on standard output is its result alone (`-o json` is piped into other programs), so set-up
# speaks on standard error.
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
RUNS ?= 1000000
ENGINE ?= auto
SECONDS ?= 600
KILLS ?= 100
QUEUE ?= on
SEED ?=
RUN := $(VENV)/.run
DEV := $(VENV)/.dev

.DEFAULT_GOAL := help
.PHONY: help up hawse test test-crash test-faults test-peers check format bench-logs bench-metrics bench-metrics-enrichment bench-gateway fuzz soak clean

help: ## Say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-13s %s\n", $$1, $$2}' Makefile

up: $(RUN) ## Run the pipelines of logs and metrics on this machine and watch it (ARGS="--for 30s -o json": unattended)
	@exec $(BIN)/hawse up $(ARGS)

hawse: $(RUN) ## Run any command of the program: make hawse ARGS="validate --config x.yaml"
	@exec $(BIN)/hawse $(ARGS)

test: $(DEV) ## All tests
	@exec $(BIN)/python -m pytest $(ARGS)

test-crash: $(DEV) ## Kill every role at KILLS=100 random moments under load, then hold what was written against what arrived (SEED, QUEUE=off)
	@$(BIN)/python -m tests.crash.kills --kills $(KILLS) --queue $(QUEUE) $(if $(SEED),--seed $(SEED)) $(ARGS)
	@$(BIN)/python -m tests.crash.metric_kills --kills $(KILLS) --queue $(QUEUE) $(if $(SEED),--seed $(SEED))

test-faults: $(DEV) ## Everything that can fail around the roles, one case at a time, each with its figures (SEED, ARGS="-k sigterm")
	@LONG=1 SEED=$(SEED) exec $(BIN)/python -m pytest -s -q tests/crash/test_faults.py $(ARGS)

test-peers: $(DEV) ## Beside a real Prometheus, exporters, clients of traces, the long runs too: nothing lost or changed (SEED, ARGS)
	@LONG=1 SEED=$(SEED) exec $(BIN)/python -m pytest -q tests/peers $(ARGS)

check: $(DEV) ## Format, lint, types, import layers
	@$(BIN)/ruff format --check . || { echo "make format puts it right" >&2; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(DEV) ## Format the code, and mend what the linter can
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --quiet --fix .

bench-logs: $(RUN) ## What a gigabyte of logs costs, one JSON line a role (BENCH_DATA, BENCH_URL replace its own ends)
	@exec $(BIN)/python -m bench.logs $(ARGS)

bench-metrics: $(RUN) ## What a million scraped samples cost, one JSON line (BENCH_TARGETS, BENCH_URL replace its own ends; ARGS="--unchanged 0.7")
	@exec $(BIN)/python -m bench.metrics $(ARGS)

bench-metrics-enrichment: $(RUN) ## What enriching a million points costs, one JSON line a way in: OTLP, remote write
	@$(BIN)/python -m bench.metrics_enrichment_otlp $(ARGS)
	@exec $(BIN)/python -m bench.metrics_enrichment

bench-gateway: $(RUN) ## What a million spans, records, points cost by gRPC and HTTP, one JSON line each (ARGS="--signals traces")
	@exec $(BIN)/python -m bench.gateway $(ARGS)

soak: $(DEV) ## Both roles under a memory limit with a dead backend, for SECONDS=600 (ARGS="--memory 128MiB --queue 0")
	@exec $(BIN)/python -m bench.soak --seconds $(SECONDS) $(ARGS)

fuzz: $(DEV) ## Feed every decoder with odd inputs (RUNS=1000000 each; TARGETS="otlp_logs …" for some; ENGINE=mutator)
	@$(PIP) install --group fuzz >&2 || echo "atheris cannot be installed here: our own mutator is used" >&2
	@exec $(BIN)/python -m fuzz --runs $(RUNS) --engine $(ENGINE) $(TARGETS)

clean: ## Remove the environment and the caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Hawse needs Python 3.11 or later, and $(PYTHON) is not: make PYTHON=/path/to/python3.11 …" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) >&2 || { rm -rf $(VENV); \
	  echo "$(PYTHON) cannot make a virtual environment: on Debian and Ubuntu, apt-get install python3-venv" >&2; exit 1; }

$(RUN): pyproject.toml | $(BIN)/python
	@echo "setting up $(VENV) (once)" >&2
	@$(PIP) install --editable . >&2
	@touch $@

# Dependency groups need pip ≥ 25.1, which is newer than what Debian 12 puts into a virtual environment.
$(DEV): pyproject.toml $(RUN)
	@echo "setting up $(VENV) for development (once)" >&2
	@$(PIP) install 'pip>=25.1' >&2
	@$(PIP) install --group dev >&2
	@touch $@
