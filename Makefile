# What a contributor types. Every target sets up what it needs first; see .ci/setup for what that may install.
.PHONY: setup demo install newcomer picture test test-live check bench bench-long docs format

SHELL := /bin/bash
PATH := $(CURDIR)/.tools/bin:$(PATH)
export PATH
unexport VIRTUAL_ENV
RUN := uv run --no-sync --
# Most of a test is waiting for processes that it started: three at a time fill two cores.
PYTEST_ARGS ?= -n 3
# What speaks to a service over a network or to a browser, or is about other people's tools, is the same whoever runs it:
# once is enough.
ONCE := --ignore=tests/e2b_endpoint --ignore=tests/machines/e2b --ignore=tests/providers/test_e2b.py \
    --ignore=tests/bench/test_counts_on_e2b.py --ignore=tests/ui --ignore=tests/docs \
    --ignore=tests/langchain/test_against_shell_tool.py --ignore=tests/providers/test_contract_checks_itself.py \
    --ignore=tests/test_picture.py
# The tests start hundreds of programs, each of which would compile what it imports where Python may not write byte code.
COMPILE := uv sync --locked --quiet --compile-bytecode && \
    $(RUN) python -m compileall -q gitmachine mcp_server integrations bench tests/e2b_endpoint
# A shell starts its background jobs with SIGINT ignored, which is inherited; the tests send it in earnest.
DEFAULT_SIGNALS := env --default-signal=INT,QUIT

setup:
	@.ci/setup
	@uv sync --locked --quiet

demo: setup  ## a session from start to stop, on this repository, in under a minute
	@$(RUN) gitmachine demo

install:  ## the command `gitmachine` for you, with its views
	@.ci/setup
	@uv tool install --quiet --force '.[cli,watch,ui]'

newcomer:  ## what the README says, from a clean clone to a first own session, with the seconds
	@.ci/setup
	@python3 -m tests.newcomer

picture: setup  ## the pictures of the README, from sessions that are really run
	@$(RUN) python -m picture

test: setup  ## all tests; for root twice, as root and as an ordinary user
	@.ci/setup tests
	@$(COMPILE)
	@echo "== tests as $$(id -un)"
	@$(DEFAULT_SIGNALS) $(RUN) python -m pytest $(PYTEST_ARGS)
	@if [ "$$(id -u)" = 0 ]; then .ci/test-as-user $(PYTEST_ARGS) $(ONCE); fi

check: setup  ## format, lint, types, and the rules of the house
	$(RUN) ruff check
	$(RUN) ruff format --check
	$(RUN) mypy
	$(RUN) pyright
	$(RUN) python -m pytest -q tests/test_architecture.py

test-live: setup  ## the provider's contract and a whole session on E2B's real service; costs a few cents
	@$(RUN) python -m pytest -m live tests/live -p no:cacheprovider

bench: setup  ## the figures we publish, in under 20 minutes; ONLY=run,start for some of them
	@uv sync --locked --quiet --group bench
	@$(RUN) python -m bench "$(ONLY)"

bench-long: setup  ## the same with the sizes that take longer; some two hours
	@uv sync --locked --quiet --group bench
	@$(RUN) python -m bench --long "$(ONLY)"

docs: setup  ## the guides, into site/; a link that leads nowhere fails
	@NO_MKDOCS_2_WARNING=1 $(RUN) mkdocs build --quiet --strict
	@echo "open site/index.html, or: uv run mkdocs serve"

format: setup
	$(RUN) ruff check --fix
	$(RUN) ruff format
