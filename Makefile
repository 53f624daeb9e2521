# Everything is made in .venv and comes back quickly: a stamp file says what is installed already.

PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
PROTO := $(wildcard proto/common/pb/*.proto)
RECIPE := pyproject.toml setup.py edge/_fanout.c $(PROTO)
SYSTEM_TOOLS := redis-server haproxy irssi weechat-headless nodejs npm iproute2 graphite-carbon graphite-web

.DEFAULT_GOAL := help
.PHONY: help run test lint types dashboards proto bench bench-quick bench-peers fuzz chaos load load-full clean system-tools

help: ## list the targets
	@echo 'make TARGET, where TARGET is one of'
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | awk -F '\t' '{ printf "  %-12s %s\n", $$1, $$2 }'

run: .venv/installed ## start a cluster on this machine (ARGS="--edges 3": options of `tallgrass up`)
	@$(BIN)/tallgrass up $(ARGS)

test: .venv/installed-dev system-tools tests/clients/node_modules/.installed deploy/statsd/node_modules/.installed ## run all tests (ARGS="tests/unit -x": options of pytest)
	@echo '-- pytest: the tests start real services on free ports of 127.0.0.1'
	@$(BIN)/python -u -m pytest $(ARGS)

lint: .venv/installed-dev ## look for mistakes with ruff
	@$(BIN)/ruff check .

types: .venv/installed-dev ## check types with mypy, strictly
	@$(BIN)/mypy

dashboards: .venv/installed-dev ## write deploy/grafana/*.json and docs/metrics.md again from their code
	@$(BIN)/python -m deploy.grafana.build

proto: .venv/installed-dev ## compile proto/ into common/pb/ again
	@$(BIN)/python -m grpc_tools.protoc -Iproto --python_out=. --pyi_out=. --grpc_python_out=. $(PROTO)

bench: .venv/installed-dev ## measure this machine against the C floor and peers (about 40 minutes)
	@$(BIN)/python -u -m tests.bench --json build/bench.json --update docs/benchmarks.md $(ARGS)

bench-quick: .venv/installed-dev ## small loads, one turn: proves that the benchmark runs
	@$(BIN)/python -u -m tests.bench --quick $(ARGS)

load: .venv/installed-dev ## load a stack of its own for a minute (ARGS="storm --viewers 5000", "limit", "raid" ...: python -m loadtest --help)
	@$(BIN)/python -u -m loadtest $(or $(ARGS),tpp)

load-full: .venv/installed-dev ## the same for ten minutes
	@$(BIN)/python -u -m loadtest tpp --seconds 600 $(ARGS)

fuzz: .venv/installed-dev ## feed a million random and mutated lines to the codec and the session core (about a minute)
	@$(BIN)/python -u -m tests.fuzz $(ARGS)

chaos: .venv/installed-dev ## break everything under load and prove that nothing is lost (about 5 minutes)
	@$(BIN)/python -u -m tests.chaos $(ARGS)

bench-peers: ## install inspircd and ngircd to compare with (Debian, root)
	@test "$$(id -u)" = 0 || { echo 'run as root: apt-get install inspircd ngircd'; exit 1; }
	@apt-get update -qq && apt-get install -y -qq inspircd ngircd >/dev/null && echo 'inspircd and ngircd are installed'

clean: ## remove what was made here, but not the data in .tallgrass
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	rm -rf tests/clients/node_modules deploy/statsd/node_modules
	rm -f common/pb/*_pb2.py common/pb/*_pb2.pyi common/pb/*_pb2_grpc.py edge/_fanout.*.so
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Debian's Python may come without ensurepip; then the pip beside it fills the environment.
.venv/made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Tallgrass needs Python 3.11 or newer, this is %d.%d: make PYTHON=python3.11 ..." % sys.version_info[:2])'
	@echo '-- making a Python environment in .venv'
	@$(PYTHON) -m venv --clear .venv >/dev/null 2>&1 \
	    || { $(PYTHON) -m venv --clear --without-pip .venv && $(PYTHON) -m pip --python .venv/bin/python install --quiet pip; }
	@touch $@

.venv/installed: .venv/made $(RECIPE)
	@echo '-- installing Tallgrass and what it needs (a minute or two the first time)'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

.venv/installed-dev: .venv/made $(RECIPE)
	@echo '-- installing Tallgrass, test tools and real chat clients (a few minutes the first time)'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,clients]'
	@touch .venv/installed $@

tests/clients/node_modules/.installed: tests/clients/package-lock.json | system-tools
	@if command -v npm >/dev/null; then \
	    echo '-- installing chat clients for node'; \
	    cd tests/clients && npm ci --silent --no-audit --no-fund && touch node_modules/.installed; \
	else echo '-- npm is not installed: tests of node clients are skipped'; fi

deploy/statsd/node_modules/.installed: deploy/statsd/package-lock.json | system-tools
	@if command -v npm >/dev/null; then \
	    echo '-- installing statsd'; \
	    cd deploy/statsd && npm ci --omit=optional --silent --no-audit --no-fund && touch node_modules/.installed; \
	else echo '-- npm is not installed: tests of the metrics chain are skipped'; fi

# Real servers and clients that the tests drive. Without root they are left as they are, and tests that need a missing one
# are skipped, which pytest's summary says.
system-tools:
	@missing=''; for tool in redis-server haproxy irssi weechat-headless node npm ip carbon-cache graphite-manage; do \
	    PATH="$$PATH:/usr/sbin:/sbin" command -v $$tool >/dev/null || missing="$$missing $$tool"; done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "-- installing Debian packages, for:$$missing"; \
	    export DEBIAN_FRONTEND=noninteractive; \
	    apt-get update -qq && apt-get install -y -qq --no-install-recommends $(SYSTEM_TOOLS) >/dev/null; \
	else echo "-- not installed, their tests are skipped:$$missing"; fi
