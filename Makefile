# The two commands: `make demo` and `make test`. Each sets up all it needs, and is quick when
# run again. Everything goes into .venv and .venvs, which `make clean` removes.

.DEFAULT_GOAL := help
SHELL := /bin/sh
.DELETE_ON_ERROR:
# Some containers have it. What is imported in hundreds of processes is compiled once.
unexport PYTHONDONTWRITEBYTECODE

# The newest of Python 3.11 to 3.15 on this machine, or the one named: make PYTHON=... test
FIND_PYTHON := $(if $(PYTHON),PYTHON='$(PYTHON)') sh scripts/find_python.sh
VENV        ?= .venv
VENVS       ?= .venvs
BIN         := $(VENV)/bin

# More than the two cores of a small CI machine are not assumed. A file's tests stay together, so
# that what shares a module's fixtures makes them once.
PYTEST_WORKERS ?= 2
PYTEST_ARGS    ?=
# Such as --database sqlite --only test/sql/test_returning.py
SUITE_ARGS     ?=
# In the order of tests/conftest.py: what takes long first.
WORKERS        := --processes $(PYTEST_WORKERS) $(PYTEST_ARGS)
# A few tests that fail are run again, alone, and told of.
PYTEST         := -m tests.run $(WORKERS)
# Ways to get the database servers: see tests/servers/provision.py.
SERVERS        ?= url,private,running,install
# What depends on the SQLAlchemy version.
MATRIX_TESTS   ?= tests
PYTHONS_TESTS  ?= tests
# What is run once more on the compiled core, where that can be built.
NATIVE_TESTS   ?= tests/native tests/message tests/format tests/golden tests/roundtrip
# What is run on a second emulator of KMS.
LOCALSTACK_TESTS ?= tests/kms tests/rewrap tests/dynamodb tests/iam tests/servers/test_kms.py \
	tests/keys/test_kms_keyrings.py tests/keys/test_kms_outages.py tests/keys/test_kms_calls.py \
	tests/tenants/test_prefetch.py tests/leaks/test_key_material.py tests/cli/test_keys.py
FUZZ_TESTS     ?= tests
FUZZ_COUNT     ?= 200000
FUZZ_SECONDS   ?= 300
FUZZ_PROGRAMS  ?= 20000
FAULTS         ?= 20
# Of javascript, java, rust, go; all if empty.
LANGUAGES      ?=
CONFORMANCE_ARGS ?=
# Such as --quick, or --only page
BENCH          ?=
BENCHMARKS     ?= $(filter-out benchmarks/__%,$(wildcard benchmarks/*.py))

# Where the example application runs: sqlite with a key in a file, or postgresql with a KMS emulator.
ON             ?= sqlite

.PHONY: help demo app test-app test-pages test-adoption native lint-native wheels sbom test-release test suite test-native conformance localstack test-localstack test-mysql test-each test-sqlalchemy test-matrix test-oldest test-frameworks test-pythons \
	docs lint format fuzz fuzz-differential fuzz-guided faults bench bench-tables lock clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/:[^#]*## /\t/' | expand -t 19

demo: $(VENV)/.runtime ## see it work: SQLite and a local key, in this terminal
	@$(BIN)/python examples/quickstart.py

app: $(VENVS)/app/.ci ## the example application, in a browser. On PostgreSQL and a KMS emulator: make app ON=postgresql
	@if [ "$(ON)" = postgresql ]; then \
		CLINIC_KMS=moto $(VENVS)/app/bin/python -m tests.servers --ways $(SERVERS) -- \
			$(VENVS)/app/bin/python -m tests.clinic.on_postgresql; \
	else $(VENVS)/app/bin/python -m examples.clinic; fi

test-app: $(VENVS)/app/.ci ## the example application in a browser, on SQLite and on PostgreSQL with a KMS emulator
	@ENCFIELDS_TEST_CLINIC=all $(VENVS)/app/bin/python -m tests.servers --ways $(SERVERS) -- \
		$(VENVS)/app/bin/python -m pytest -q -n 0 $(PYTEST_ARGS) tests/clinic

# What waits for caches to run out is left out.
test-pages: $(VENVS)/frameworks/.ci ## the example application's pages without a browser, on SQLite: seconds
	@ENCFIELDS_TEST_CLINIC=pages ENCFIELDS_TEST_BACKENDS=sqlite $(VENVS)/frameworks/bin/python \
		-m pytest -q -n 0 $(PYTEST_ARGS) tests/clinic \
		-k "not without_keys and not go_away and not shredded"

test: native ## everything: set up the servers, run the whole suite on the three databases
	@$(MAKE) --no-print-directory suite
	@$(MAKE) --no-print-directory test-native

# Of Python alone: what the compiled core does is test-native's.
suite: $(VENV)/.ci
	@ENCFIELDS_NATIVE=off $(BIN)/python -m tests.servers --ways $(SERVERS) -- $(BIN)/python $(PYTEST)

test-native: native ## what seals and opens, on the compiled core; all of it: make test-native NATIVE_TESTS=tests
	@[ ! -f $(VENV)/.native ] || ENCFIELDS_NATIVE=require \
		$(BIN)/python -m tests.servers --ways $(SERVERS) -- $(BIN)/python $(PYTEST) $(NATIVE_TESTS)

lint-native: ## the compiled core's formatter, linter and own tests; takes Rust
	@cd native && cargo fmt --check
	@cd native && cargo clippy --quiet --release --locked --all-targets -- -D warnings
	@cd native && cargo test --quiet --release --locked --no-default-features

native: $(VENV)/.ci ## build the compiled core, if there is Rust, and install it into the environment
	@$(BIN)/python scripts/build_native.py

test-localstack: $(VENV)/.ci localstack ## the tests of KMS on a second emulator of it, multi-Region keys included
	@[ ! -f $(VENVS)/localstack/.ci ] || \
		ENCFIELDS_TEST_LOCALSTACK=$(VENVS)/localstack/bin/python ENCFIELDS_TEST_BACKENDS=sqlite \
		$(BIN)/python -m tests.servers --ways $(SERVERS) -- $(BIN)/python $(PYTEST) $(LOCALSTACK_TESTS)

localstack: ## LocalStack's KMS in an environment of its own, where its packages can be had
	@$(MAKE) --no-print-directory $(VENVS)/localstack/.ci || { rm -f $(VENVS)/localstack/.ci; \
		echo "LocalStack cannot be installed here: no test is run on its KMS"; }

test-mysql: $(VENV)/.ci ## the suite on MySQL in the place of the three databases
	@ENCFIELDS_TEST_BACKENDS=mysql $(BIN)/python -m tests.servers --ways $(SERVERS) -- \
		$(BIN)/python $(PYTEST)

# What no database changes is tested on one of them, in turn: see tests/turns.py.
test-each: $(VENV)/.ci ## the suite with every test on each of the three databases
	@ENCFIELDS_TEST_TURNS=off $(MAKE) --no-print-directory suite

test-matrix: test-oldest $(VENVS)/sqlalchemy-2.0/.ci test ## the suite on SQLAlchemy's oldest, newest 2.0, newest 2.1
	@$(VENVS)/sqlalchemy-2.0/bin/python -m tests.servers --ways $(SERVERS) -- \
		$(VENVS)/sqlalchemy-2.0/bin/python $(PYTEST) $(MATRIX_TESTS)

test-sqlalchemy: $(VENV)/.ci ## SQLAlchemy's own tests, on plain and on attached engines
	@$(BIN)/python -m tests.servers --ways $(SERVERS) -- \
		$(BIN)/python -m tests.sqlalchemy_suite $(SUITE_ARGS)

test-oldest: $(VENVS)/oldest/.ci ## the suite on the oldest SQLAlchemy supported (2.0.25)
	@$(VENVS)/oldest/bin/python -m tests.servers --ways $(SERVERS) -- \
		$(VENVS)/oldest/bin/python $(PYTEST) $(MATRIX_TESTS)

test-pythons: ## the suite on each Python from 3.11 to 3.15 that is on this machine
	@pythons=$$(sh scripts/find_python.sh --all) || exit 1; failed=; for python in $$pythons; do \
		name=python-$$("$$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])') && \
		echo "$$name" && \
		"$$python" scripts/make_venv.py "$(VENVS)/$$name" requirements/ci.txt && \
		"$(VENVS)/$$name/bin/python" -m tests.servers --ways $(SERVERS) -- \
			"$(VENVS)/$$name/bin/python" $(PYTEST) $(PYTHONS_TESTS) || failed="$$failed $$name"; \
	done; [ -z "$$failed" ] || { echo "failed:$$failed" >&2; exit 1; }

conformance: $(VENV)/.ci ## AWS's SDKs of other languages on our values, as far as their tools are here
	@$(BIN)/python -m conformance $(CONFORMANCE_ARGS) $(LANGUAGES)

wheels: $(VENV)/.ci $(VENVS)/release/.ci ## what is uploaded to a package index, into dist: of the core too, if there is Rust
	@$(BIN)/python -m hatchling build -d dist
	@$(BIN)/python scripts/build_native.py --into dist
	@$(VENVS)/release/bin/twine check --strict dist/*.whl dist/*.tar.gz

test-release: $(VENV)/.ci ## build the distributions and run the quick start with them on every Python that is found
	@$(BIN)/python -m scripts.try_release $$(sh scripts/find_python.sh --all)

sbom: $(VENVS)/release/.ci ## what a release is made of, as CycloneDX, into dist
	@mkdir -p dist
	@$(VENVS)/release/bin/python scripts/bill_of_materials.py \
		$(VENVS)/release/bin/cyclonedx-py dist/encfields.cdx.json

docs: $(VENVS)/docs/.ci ## the documentation as a site, in docs/_build; a warning is an error
	@COLUMNS=88 $(VENVS)/docs/bin/sphinx-build -q -W --keep-going -b html docs docs/_build
	@echo "docs/_build/index.html"

lint: $(VENV)/.ci ## ruff and mypy, changing nothing
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(VENV)/.ci ## let ruff format and fix what it can
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .

test-adoption: $(VENV)/.ci ## versions of an application side by side through an adoption, for long
	@ENCFIELDS_ADOPTION_ROUNDS=$${ROUNDS:-2000} $(BIN)/python -m tests.servers --ways $(SERVERS) -- \
		$(BIN)/python -m pytest -q -n0 tests/adoption/test_races.py

test-frameworks: $(VENVS)/frameworks/.ci ## encrypted columns in web frameworks, admin pages, task queues and their like
	@ENCFIELDS_TEST_FRAMEWORKS=all $(VENVS)/frameworks/bin/python -m tests.servers --ways $(SERVERS) -- \
		$(VENVS)/frameworks/bin/python $(PYTEST) tests/frameworks

fuzz: $(VENV)/.ci ## look for new findings: mutated messages, and every property test at length
	@$(BIN)/python -m tests.message.fuzz --count $(FUZZ_COUNT)
	@$(BIN)/python -m tests.servers --ways $(SERVERS) -- $(BIN)/python -m pytest -p tests.processes $(WORKERS) \
		-m hypothesis --hypothesis-profile=fuzz -o timeout=0 $(FUZZ_TESTS)

faults: $(VENV)/.ci ## runs that are killed, and servers that crash or fill their disk, at length
	@$(BIN)/python -m tests.bulk.faults --kills $(FAULTS)
	@$(BIN)/python -m tests.bulk.faults --restart $(FAULTS)
	@$(BIN)/python -m tests.bulk.faults --disk-full $(FAULTS)

fuzz-differential: $(VENV)/.ci ## random programs on twins, plain and encrypted, on the three databases
	@$(BIN)/python -m tests.servers --ways $(SERVERS) -- \
		$(BIN)/python -m tests.differential --programs $(FUZZ_PROGRAMS)

fuzz-guided: $(VENV)/.ci ## coverage-guided run of the parser; wants `pip install atheris` first
	@$(BIN)/python -m tests.message.atheris_fuzz -max_total_time=$(FUZZ_SECONDS)

bench: $(VENV)/.bench native ## compare with rivals, side by side, and write docs/benchmarks.md: an hour; BENCH=--quick
	@$(BIN)/python -m tests.servers --ways $(SERVERS) -- $(BIN)/python -m benchmarks.report $(BENCH)

bench-tables: $(VENV)/.bench native ## every benchmark, those that are not on that page as well, in tables
	@for file in $(BENCHMARKS); do \
		module=$$(echo "$${file%.py}" | tr / .) && \
		$(BIN)/python -m tests.servers --ways $(SERVERS) -- $(BIN)/python -m "$$module" \
			|| exit 1; \
	done

lock: ## take newer versions into requirements/*.txt
	@python=$$($(FIND_PYTHON)) && "$$python" -m venv $(VENVS)/lock
	@$(VENVS)/lock/bin/python -m pip install --quiet pip-tools
	@scripts/lock.sh $(VENVS)/lock/bin/python

clean: ## remove what the other targets made
	rm -rf $(VENV) $(VENVS) dist native/target docs/_build docs/reference .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# An empty file for each set of requirements says that it is installed, and since when. What has
# few packages of its own is made over the first environment, which has the rest.

$(VENV)/.runtime: requirements/runtime.txt pyproject.toml scripts/make_venv.py
	@python=$$($(FIND_PYTHON)) && "$$python" scripts/make_venv.py $(VENV) $<
	@touch $@

$(VENV)/.ci: requirements/ci.txt pyproject.toml scripts/make_venv.py
	@python=$$($(FIND_PYTHON)) && "$$python" scripts/make_venv.py $(VENV) $<
	@touch $(VENV)/.runtime $@

$(VENV)/.bench: requirements/bench.txt $(VENV)/.ci
	@python=$$($(FIND_PYTHON)) && "$$python" scripts/make_venv.py $(VENV) $<
	@touch $@

$(VENVS)/frameworks/.ci: requirements/frameworks.txt $(VENV)/.ci
	@python=$$($(FIND_PYTHON)) && "$$python" scripts/make_venv.py --over $(VENV) $(@D) $<
	@touch $@

$(VENVS)/app/.ci: requirements/app.txt pyproject.toml scripts/make_venv.py
	@python=$$($(FIND_PYTHON)) && "$$python" scripts/make_venv.py $(@D) $<
	@touch $@

$(VENVS)/docs/.ci: requirements/docs.txt pyproject.toml scripts/make_venv.py
	@python=$$($(FIND_PYTHON)) && "$$python" scripts/make_venv.py $(@D) $<
	@touch $@

$(VENVS)/release/.ci: requirements/release.txt scripts/make_venv.py
	@python=$$($(FIND_PYTHON)) && "$$python" scripts/make_venv.py --alone $(@D) $<
	@touch $@

$(VENVS)/localstack/.ci: requirements/localstack.txt scripts/make_venv.py
	@python=$$($(FIND_PYTHON)) && "$$python" scripts/make_venv.py --alone $(@D) $<
	@touch $@

$(VENVS)/sqlalchemy-2.0/.ci: requirements/sqlalchemy-2.0.txt $(VENV)/.ci
	@python=$$($(FIND_PYTHON)) && "$$python" scripts/make_venv.py --over $(VENV) $(@D) $<
	@touch $@

$(VENVS)/oldest/.ci: requirements/sqlalchemy-2.0.25.txt requirements/sqlalchemy-2.0.31.txt $(VENV)/.ci
	@python=$$($(FIND_PYTHON)) && oldest=$$("$$python" -c \
		'import sys; print("2.0.25" if sys.version_info < (3, 13) else "2.0.31")') && \
		"$$python" scripts/make_venv.py --over $(VENV) $(@D) requirements/sqlalchemy-$$oldest.txt
	@touch $@
