# The entry to everything: `make help`.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PRESET ?= release
JOBS ?= $(shell nproc)
BUILD := build/$(PRESET)
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# clang-tidy and friends must not pick up a user's ccache or python settings half way
export PYTHONDONTWRITEBYTECODE := 1

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  \033[1m%-14s\033[0m %s\n", $$1, $$2}'

.PHONY: setup setup-check
setup: ## install what building and the demo need (apt, .venv, npm)
	@tools/setup.sh
setup-check: ## install what the tests need besides
	@tools/setup.sh check

.PHONY: build server agent ui
build: ui server agent ## build everything that runs: UI, server, agent
ui: setup ## build the web UI into ui/dist
	@tools/step "UI" bash -c 'cd ui && npm run --silent build'
server: setup ## build nuages-server (preset: make server PRESET=dev)
	@tools/step "configure $(PRESET)" cmake --preset $(PRESET) -DPython_EXECUTABLE=$(CURDIR)/.venv/bin/python -DNUAGES_BUILD_TESTS=OFF -DNUAGES_BUILD_BENCH=OFF
	@tools/step "build nuages-server" cmake --build $(BUILD) -j $(JOBS) --target nuages-server
agent: setup ## build the agent and install it into .venv (editable)
	@tools/step "build and install the agent" .venv/bin/pip install -q --disable-pip-version-check --no-build-isolation --no-deps -e . -Cbuild-dir=build/agent

.PHONY: demo demo-check
demo: build ## the main job: example application, traces, tree, N+1, UI; Ctrl-C ends it
	@.venv/bin/python tools/demo.py
demo-check: build ## the same unattended, checked against the guide
	@.venv/bin/python tools/demo.py --check
