# One command a task; CI calls the same ones.
PYTHON ?= python3
PY := .venv/bin/python
# processes are started by the hundred: each would compile everything anew
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run serve cluster test test-browser chaos load screenshots check check-code check-security fuzz bench lock format clean

help:  ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-13s %s\n", $$1, $$2}'

run: .venv/runtime .env  ## set everything up, run the hub with 200 live mock miners and show one match
	@$(PY) manage.py migrate --verbosity 0
	@$(PY) manage.py demo

serve: .venv/runtime  ## the hub alone, set by the environment (and .env, where there is one)
	@$(PY) manage.py migrate --verbosity 0
	@exec $(PY) manage.py serve

cluster: .venv/dev  ## a hub of many processes with its databases, as in production; set as `make serve`
	@exec $(PY) manage.py cluster

test: .venv/dev  ## all tests, on SQLite and on PostgreSQL + Valkey, which this starts by itself
	@$(PY) -m tests.servers $(PY) -m pytest -m "not pure and not once and not cluster and not browser and not bench" \
	  > .test-servers.log 2>&1 & servers=$$!; \
	{ $(PY) -m pytest -m "pure and not bench"; pure=$$?; $(PY) -m pytest -m cluster && [ $$pure -eq 0 ]; } \
	  > .test-once.log 2>&1 & once=$$!; \
	trap 'kill $$servers $$once' INT TERM; \
	$(PY) -m pytest -m "not pure and not servers and not cluster and not browser and not bench"; embedded=$$?; \
	wait $$servers; servers=$$?; wait $$once; once=$$?; \
	echo "--- on PostgreSQL and Valkey, at the same time"; cat .test-servers.log; \
	echo "--- without storage, and with servers of their own"; cat .test-once.log; \
	[ $$embedded -eq 0 ] && [ $$servers -eq 0 ] && [ $$once -eq 0 ]

test-browser: .venv/dev  ## the admin in a real Chromium (Debian's package chromium)
	$(PY) -m pytest -m browser

chaos: .venv/dev  ## faults against a cluster under load, and a table of what held (SEED=1, ONLY=words; under 20 minutes)
	@$(PY) -m tests.chaos --seed $(or $(SEED),1) --only "$(ONLY)"

screenshots: .venv/dev  ## the admin's pages, photographed anew for docs/images/
	$(PY) -m tests.browser.screenshots docs/images

check: .venv/dev  ## all that can be said without running tests: the next two, at the same time
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target check-code check-security

check-code: .venv/dev  ## lint, types, layers, migrations, deployment settings
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	.venv/bin/lint-imports --no-logo
	POOLHUB_ENV_FILE=tests/embedded.env $(PY) manage.py makemigrations --check --dry-run
	POOLHUB_ENV_FILE=tests/production.env $(PY) manage.py check --deploy --fail-level WARNING

check-security: .venv/dev  ## bandit, secrets in the repository, known vulnerabilities of what is pinned
	$(PY) -m bandit --quiet --recursive --configfile pyproject.toml .
	$(PY) -m tests.security.leaks
	$(PY) -m tests.security.advisories

fuzz: .venv/fuzz  ## every decoder of bytes from outside, guided by coverage, for FUZZ_S seconds each (default 20)
	$(PY) -m tests.fuzz $(FUZZ_S)

bench: .venv/dev .venv/bench  ## the benchmarks, each beside its reference; results go to benchmarks/results/
	$(PY) -m pytest -m bench
	$(PY) -m benchmarks

load: .venv/bench  ## a whole hub under load for 15 minutes, then beyond what it can do; needs nginx and a quiet machine
	$(PY) -m benchmarks load --beyond

lock: .venv/dev  ## pin requirements*.in into requirements*.txt, with hashes
	for name in requirements requirements-evm requirements-otel requirements-dev requirements-bench requirements-fuzz; do \
	  .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	    --no-emit-index-url --output-file $$name.txt $$name.in || exit 1; done

format: .venv/dev  ## format the code, and mend what ruff can mend
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

clean:  ## remove what was installed and cached; .env and the database stay
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

.env: | .venv/runtime
	@$(PY) -m poolhub.envfile

$(PY):
	@$(PYTHON) -c 'import sys; sys.exit("Pool Hub needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv .venv || { rm -rf .venv; echo "no virtual environment could be made: Debian has venv in the package python3-venv" >&2; exit 1; }

.venv/runtime: requirements.txt | $(PY)
	@echo "installing requirements.txt …"
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@touch $@

.venv/dev: requirements-dev.txt | $(PY)
	@echo "installing requirements-dev.txt …"
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@ .venv/runtime

.venv/bench: requirements-bench.txt | .venv/runtime
	@echo "installing requirements-bench.txt …"
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bench.txt
	@touch $@

.venv/fuzz: requirements-fuzz.txt | .venv/dev
	@echo "installing requirements-fuzz.txt …"
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-fuzz.txt
	@touch $@
