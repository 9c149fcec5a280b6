# Everything is built in folders of the checkout: .venvs (environments) and .run (data and logs).
# Any Python from 3.9 on: uv finds or downloads 3.11 for the environments.
PYTHON ?= python3
DEV := .venvs/dev/bin
# Most tests wait for a server, so there are more processes than cores.
TEST_PROCESSES ?= 6
# What runs the plugins. Some shells export HOST as the name of the machine: from there, only a name of ours counts.
ifneq ($(origin HOST),command line)
override HOST := $(filter pipelines functions,$(HOST))
endif
export HOST
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help run try install stop test test-unit test-integration test-e2e test-models lint format tables bundle wheel lock
.PHONY: clean browser
.PHONY: bench bench-guarded bench-functions bench-growth bench-stream bench-verdicts bench-demo
.PHONY: env-dev env-newest env-all

help: ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: env-all ## the whole demo on http://127.0.0.1:3000; MODEL=gen-0.6b and UPSTREAM_BASE_URL=… put real models in; HOST=functions needs no Pipelines server
	@exec $(DEV)/python -m demo.run

try: env-all ## play three conversations through the whole demo, with each host, and check them
	@exec $(DEV)/python -m demo.try_conversations

install: env-all ## build the environments, but start nothing

stop: ## stop a demo that runs without a terminal
	@$(DEV)/supervisorctl -c .run/supervisord.conf shutdown || { echo "no demo of this checkout runs"; exit 1; }

test: env-all env-newest browser ## all tests, in parallel
	@$(DEV)/python -m pytest -n $(TEST_PROCESSES) tests

test-unit: env-dev ## the tests that take seconds
	@$(DEV)/python -m pytest -n 4 tests/unit tests/dialects

test-integration: env-all env-newest ## with real vLLM, llama.cpp and the real Pipelines server
	@$(DEV)/python -m pytest -n $(TEST_PROCESSES) tests/integration

test-e2e: env-all browser ## with the real Open WebUI in a real browser
	@$(DEV)/python -m pytest -n $(TEST_PROCESSES) tests/e2e

test-models: env-all ## all six published models with random weights; `test` serves one of each kind
	@$(DEV)/python -m pytest tests/integration/test_published_models.py --all-models

lint: env-dev ## formatting, style, types, layers, and that generated files are current
	@$(DEV)/ruff format --check .
	@$(DEV)/ruff check .
	@$(DEV)/mypy
	@$(DEV)/lint-imports
	@$(DEV)/python -m tools.language_profiles --check
	@$(DEV)/python -m tools.unicode_tables --check
	@$(DEV)/python -m tools.common_words --check
	@$(DEV)/python -m tools.bundle --check
	@$(DEV)/python -m tools.openapi --check
	@$(DEV)/python -m tools.commands_reference --check
	@$(DEV)/python -m tools.valves_reference --check
	@$(DEV)/python -m tools.locks --check

format: env-dev ## format the code and sort its imports
	@$(DEV)/ruff format .
	@$(DEV)/ruff check --fix .

tables: env-dev ## write the generated tables: for undoing obfuscation, detecting languages, and docs/reference
	@$(DEV)/python -m tools.unicode_tables
	@$(DEV)/python -m tools.common_words
	@$(DEV)/python -m tools.language_profiles
	@$(DEV)/python -m tools.commands_reference
	@$(DEV)/python -m tools.valves_reference
	@$(DEV)/python -m tools.openapi

bundle: env-dev ## write dist/, the single files that an admin uploads
	@$(DEV)/python -m tools.bundle

wheel: env-dev ## build the wheel into .run/wheel
	@$(DEV)/python -m build --wheel --outdir .run/wheel

lock: env-dev ## write locks/ after a change of dependencies in pyproject.toml; UPGRADE=1 takes the newest versions
	@$(DEV)/python -m tools.locks $(if $(UPGRADE),--upgrade)

bench: env-all ## measure what moderation costs
	@$(DEV)/python -m benchmarks.filter_bench

bench-guarded: env-all ## measure what guarded models cost and leak
	@$(DEV)/python -m benchmarks.guarded_bench

bench-functions: env-all ## measure what the Functions cost and leak in Open WebUI's own process
	@$(DEV)/python -m benchmarks.functions_bench

bench-growth: env-all ## measure whether the cost grows with a chat, and how long other users wait
	@$(DEV)/python -m benchmarks.growth_bench

bench-stream: env-all ## measure what Qwen3Guard-Stream costs on vLLM
	@.venvs/guard/bin/python -m benchmarks.stream_bench

bench-verdicts: env-all ## measure the cost of a verdict in addition to the model, over each route
	@$(DEV)/python -m benchmarks.verdict_bench

bench-demo: env-all ## measure the demo guard on unseen sources (well over an hour)
	@.venvs/guard/bin/python -m benchmarks.demo_bench

clean: ## remove everything that was built: environments, data, logs
	rm -rf .venvs .run build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

env-dev:
	@$(PYTHON) tools/environments.py dev

env-newest:
	@$(PYTHON) tools/environments.py pipelines-newest litellm llama-cpp openai-1.99 openai-2.29

env-all:
	@$(PYTHON) tools/environments.py dev guard pipelines webui

# The tests use the first browser that is found; if there is none, Debian's is installed.
browser:
	@for name in chromium chromium-browser google-chrome; do command -v $$name >/dev/null && exit 0; done; \
	if ! command -v apt-get >/dev/null; then \
	  echo "error: the e2e tests need Chromium or Chrome: install it, so that 'chromium' is on the PATH." >&2; exit 1; fi; \
	if [ "$$(id -u)" = 0 ]; then as=; elif sudo -n true 2>/dev/null; then as=sudo; else \
	  echo "error: the e2e tests need a browser: sudo apt-get install chromium fonts-noto-cjk" >&2; exit 1; fi; \
	mkdir -p .run/logs; echo "installing chromium and fonts-noto-cjk (log: .run/logs/apt.log)"; \
	{ $$as apt-get update && DEBIAN_FRONTEND=noninteractive $$as apt-get install -y --no-install-recommends \
	  chromium fonts-noto-cjk; } >.run/logs/apt.log 2>&1 || { tail -5 .run/logs/apt.log >&2; exit 1; }
