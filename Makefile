# The entry to everything: `make help`.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PRESET ?= release
JOBS ?= $(shell nproc)
BUILD := build/$(PRESET)
PYTHON := $(CURDIR)/.venv/bin/python
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export PYTHONDONTWRITEBYTECODE := 1
export NUAGES_CHDB_LIBRARY ?= $(CURDIR)/third_party/chdb/node_modules/@chdb/lib-linux-x64-gnu/libchdb.so
STEP := tools/step
CMAKE_FLAGS := -DPython_EXECUTABLE=$(PYTHON)

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  \033[1m%-18s\033[0m %s\n", $$1, $$2}'

# --- set-up and build ------------------------------------------------------------------------------------------------------------------
.PHONY: setup setup-check build server agent ui
setup: ## install what building and the demo need (apt, .venv, libchdb, node modules)
	@tools/setup.sh
setup-check: ## install what the tests need besides
	@tools/setup.sh check
build: ui server agent ## build everything that runs: UI, server, agent
ui: setup ## build the web UI into ui/dist
	@$(STEP) "build the UI" bash -c 'cd ui && npm run --silent build'
server: ui ## build nuages-server with the UI inside (make server PRESET=dev for a debug build)
	@$(STEP) "configure ($(PRESET))" cmake --preset $(PRESET) $(CMAKE_FLAGS) -DNUAGES_BUILD_TESTS=$(or $(TESTS),OFF) -DNUAGES_BUILD_BENCH=$(or $(TESTS),OFF) -DNUAGES_BUILD_AGENT=OFF
	@$(STEP) "build nuages-server" cmake --build $(BUILD) -j $(JOBS) --target nuages-server
agent: setup ## build the agent and install it into .venv
	@$(STEP) "build and install the agent" .venv/bin/pip install -q --disable-pip-version-check --no-build-isolation --no-deps -e . --config-settings=build-dir=build/agent

# --- the main job ----------------------------------------------------------------------------------------------------------------------
.PHONY: demo demo-check
demo: build ## the main job: example application, traces, tree, N+1, UI; Ctrl-C ends it
	@$(PYTHON) tools/demo.py
demo-check: build ## the same unattended, compared with what the guide promises
	@$(PYTHON) tools/demo.py --check

# --- everything that must hold ---------------------------------------------------------------------------------------------------------
.PHONY: check lint tidy test test-native test-asan test-tsan test-python test-oldest test-ui fuzz-smoke fuzz bench-smoke golden format
check: setup-check ## everything: lint, build, all tests, fuzz and benchmark smoke, demo-check (what CI runs)
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory test-ui
	@$(MAKE) --no-print-directory server agent TESTS=ON
	@$(MAKE) --no-print-directory test-native tidy test-asan
	@$(MAKE) --no-print-directory test-python test-oldest
	@$(MAKE) --no-print-directory fuzz-smoke bench-smoke
	@$(MAKE) --no-print-directory demo-check
	@echo "make check: all green"

lint: setup-check ## formats, layers, ruff, mypy, biome
	@$(STEP) "clang-format" bash -c 'git ls-files "*.cc" "*.h" | xargs clang-format-19 --dry-run -Werror'
	@$(STEP) "layers" $(PYTHON) tools/check_layers.py
	@$(STEP) "ruff" bash -c 'ruff check . && ruff format --check .'
	@$(STEP) "mypy" mypy --no-incremental
	@$(STEP) "biome, svelte-check" bash -c 'cd ui && npm run --silent check'
tidy: agent ## clang-tidy over the native sources (remembers what passed)
	@[ -f $(BUILD)/compile_commands.json ] || cmake --preset $(PRESET) $(CMAKE_FLAGS) > /dev/null
	@$(STEP) "clang-tidy" $(PYTHON) tools/tidy.py $(BUILD)
	@$(STEP) "clang-tidy of the extension" $(PYTHON) tools/tidy.py build/agent native/python/*.cc
test-native: setup-check ## the C++ tests
	@$(STEP) "configure ($(PRESET))" cmake --preset $(PRESET) $(CMAKE_FLAGS) -DNUAGES_BUILD_TESTS=ON -DNUAGES_BUILD_BENCH=ON -DNUAGES_BUILD_AGENT=OFF
	@$(STEP) "build ($(PRESET))" cmake --build $(BUILD) -j $(JOBS)
	@ctest --test-dir $(BUILD) --repeat until-pass:2 --output-on-failure -j $(JOBS) --quiet -O build/ctest.log || { tail -n 60 build/ctest.log; exit 1; }
	@tail -n 4 build/ctest.log
test-asan: setup-check ## the C++ tests under address and undefined-behaviour sanitizers
	@$(STEP) "configure (asan)" cmake --preset asan $(CMAKE_FLAGS) -DNUAGES_BUILD_AGENT=OFF
	@$(STEP) "build (asan)" cmake --build build/asan -j $(JOBS)
	@$(STEP) "C++ tests (asan)" ctest --test-dir build/asan --repeat until-pass:2 --output-on-failure -j $(JOBS)
test-tsan: setup-check ## the C++ tests under the thread sanitizer (not part of check)
	@$(STEP) "configure (tsan)" cmake --preset tsan $(CMAKE_FLAGS)
	@$(STEP) "build (tsan)" cmake --build build/tsan -j $(JOBS)
	@$(STEP) "C++ tests (tsan)" ctest --test-dir build/tsan --output-on-failure -j $(JOBS)
test-python: server agent setup-check ## pytest: the agent, the server over its ports, the example, the UI in Chromium
	@CI=1 NUAGES_SERVER=$(CURDIR)/$(BUILD)/native/server/nuages-server $(PYTHON) -m pytest --reruns 1 $(PYTEST_ARGS)
test-oldest: agent setup-check ## the smoke tests of all hooks on the oldest Django that works on this Python, and bootstrap with official instrumentors
	@$(STEP) "oldest Django" $(PYTHON) tools/compat.py --check
test-ui: setup-check ## Vitest
	@$(STEP) "Vitest" bash -c 'cd ui && npm test --silent'
test: test-native test-python test-ui ## all tests without lint and sanitizers
fuzz-smoke: setup-check ## every fuzz target for a few seconds on its corpus
	@$(STEP) "configure (fuzz)" cmake --preset fuzz $(CMAKE_FLAGS)
	@$(STEP) "build (fuzz)" cmake --build build/fuzz -j $(JOBS) --target fuzzers
	@$(STEP) "fuzz targets" tools/fuzz.sh 5
fuzz: setup-check ## every fuzz target for FUZZ_SECONDS (default 3600)
	@cmake --preset fuzz $(CMAKE_FLAGS) > /dev/null && cmake --build build/fuzz -j $(JOBS) --target fuzzers && tools/fuzz.sh $(or $(FUZZ_SECONDS),3600)
bench-smoke: setup-check ## every benchmark program once, so that none rots
	@$(STEP) "benchmark programs" bash -c 'for b in $$(find $(BUILD)/native -maxdepth 1 -name "*_benchmark"); do $$b --benchmark_min_time=0.01 || exit 1; done'
golden: ## rewrite the expected parts of the golden tests; review the diff
	@NUAGES_UPDATE_GOLDEN=1 ctest --test-dir $(BUILD) -R Golden --output-on-failure
format: ## format all sources
	@git ls-files '*.cc' '*.h' | xargs clang-format-19 -i
	@ruff check --fix -q . ; ruff format -q .
	@cd ui && npx biome check --write .

# --- long proofs: before a release, not part of check ------------------------------------------------------------------------------------
.PHONY: compat test-forks test-differential test-upstream test-pythons test-asan-python check-aarch64 wheel
test-forks: agent server setup-check ## the whole matrix of servers, workers, forks and exits: spans produced = spans received
	@CI=1 NUAGES_SERVER=$(CURDIR)/$(BUILD)/native/server/nuages-server $(PYTHON) -m pytest -m 'forks or not forks' tests/integration/test_fork_matrix.py $(PYTEST_ARGS)
test-kills: server setup-check ## 100 SIGKILLs at random moments: acknowledged = stored, exactly once, every roll-up equals a recount (KILLS, KILLS_SEED)
	@CI=1 KILLS=$(or $(KILLS),100) NUAGES_SERVER=$(CURDIR)/$(BUILD)/native/server/nuages-server $(PYTHON) -m pytest -s tests/integration/test_server_kills.py $(PYTEST_ARGS)
test-differential: agent setup-check ## random programs on the official SDK and on ours, equal OTLP (SEQUENCES, default 100000)
	@$(PYTHON) tests/differential/fuzz.py --sequences $(or $(SEQUENCES),100000)
test-upstream: agent setup-check ## opentelemetry-python's own tests of its public behaviour on our SDK
	@$(PYTHON) tools/upstream_tests.py
test-asan-python: agent server setup-check ## the agent's pytest under address and undefined-behaviour sanitizers (in parts: PYTEST_ARGS=tests/unit)
	@tools/pytest_asan.sh $(PYTEST_ARGS)
test-pythons: setup-check ## the installed wheel on every CPython from 3.9 to 3.14 that is found
	@$(PYTHON) tools/pythons.py
compat: setup-check ## the smoke tests on every Django from 3.2 on with its Pythons, Celery, DRF and drivers; writes docs/compatibility.md
	@$(PYTHON) tools/compat.py --write
check-aarch64: ## cross-compile the agent for aarch64 and run its tests under qemu
	@tools/aarch64.sh
.PHONY: jaeger-golden
jaeger-golden: setup-check ## build Jaeger from its Go module and record what it answers for the spans of tests/golden/jaeger
	@$(PYTHON) tools/jaeger_golden.py
.PHONY: otelcol
otelcol: ## build a stock OpenTelemetry Collector from its Go modules, for make bench-collectors
	@$(STEP) "build otelcol" tools/otelcol.sh
.PHONY: test-otelcol
test-otelcol: server setup-check ## the example's collector configuration on nuages-server and on a stock collector built for it
	@CI=1 NUAGES_SERVER=$(CURDIR)/$(BUILD)/native/server/nuages-server NUAGES_OTELCOL="$$($(PYTHON) tools/otelcol_filter.py)" $(PYTHON) -m pytest tests/integration/test_stock_collector.py $(PYTEST_ARGS)
wheel: setup-check ## sdist and wheels in dist/
	@$(PYTHON) tools/wheel.py

# --- benchmarks: docs/performance.md ----------------------------------------------------------------------------------------------------
.PHONY: bench-overhead bench-span bench-sql bench-export bench-server bench-collectors bench-latency
bench-overhead: setup-check build ## a Django request: untraced, nuages, official packages, interleaved
	@$(PYTHON) bench/overhead.py
bench-span: setup-check agent ## one span with five attributes: nuages against opentelemetry-sdk
	@$(PYTHON) bench/span.py
bench-sql: setup-check server agent ## one SQL statement: untraced, nuages, official packages, interleaved
	@$(PYTHON) bench/sql.py
bench-export: setup-check server agent ## CPU outside of the application thread per span, and the exit: nuages, official exporters
	@$(PYTHON) bench/export.py
bench-latency: setup-check server agent ## p99 of a server at half its capacity: untraced, nuages
	@$(PYTHON) bench/latency.py
bench-server: setup-check server ## server: CPU and bytes per span stored
	@$(PYTHON) bench/server.py
bench-collectors: setup-check server otelcol ## CPU per span: nuages-server stores, drops; a stock collector keeps nothing
	@$(PYTHON) bench/collectors.py
.PHONY: clean
clean: ## remove build/ and ui/dist
	@rm -rf build ui/dist
