# make demo     the main job on real input, with all set-up
# make test     lint, types, tests, doctests
# make versions the tests on each Python of this machine that is supported
# make faults   each fault, and how the call that met it ended
# make soak     10,000 interrupts of array calls, the faults that strike at random moments, 100 times
#               each, those that take long, and pools under load for ten minutes: half an hour
# make dtypes   the tests of kernels and of NumPy's functions on all types: half an hour
# make processors the tests of numbers as on processors with and without AVX2 and AVX-512: an hour;
#               KINDS=x86-64-v3 for one of them
# make fuzz     random programs against a model, and tampered messages, pickles and expressions
# make coverage which lines the tests reach
# make compat   the programs of tests/compat against sharedmem 0.3.8
# make bench    this package beside its peers: docs/benchmarks.md; QUICK=1 for five minutes
# make regressions  rows of the benchmarks over commits: COMMITS="main HEAD" ROWS='scans.*cumsum'
# make clean    removes the environments

usable = $(1) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$(call usable,$$p) && echo $$p && break; done)
VERSIONS ?= 3.11 3.12 3.13
VENV := .venv
BIN := $(VENV)/bin
OLD := $(VENV)-0.3.8

.PHONY: demo test lint types unit kernels callers doctests versions version faults soak dtypes \
	processors fuzz coverage compat bench regressions clean

demo: $(VENV)/with-plot
	$(BIN)/python examples/demo.py

test: kernels unit callers doctests lint types

# What compiles many kernels, which takes minutes, and what finds them compiled.
KERNELS := tests/kernels tests/functions tests/expressions tests/engine/test_reduce_stored.py tests/cli
CALLERS := tests/project/test_benchmarks.py tests/cluster
# They are apart from what forks: the process that compiles them grows to 1.6 GB.
UNIT := $(KERNELS:%=--ignore=%) $(CALLERS:%=--ignore=%)

unit: $(VENV)/with-test
	$(BIN)/pytest -q $(UNIT)

kernels: $(VENV)/with-test
	$(BIN)/pytest -q $(KERNELS)

callers: $(VENV)/with-test
	$(BIN)/pytest -q $(CALLERS)

doctests: $(VENV)/with-test
	$(BIN)/pytest -q --doctest-modules sharedmem

lint: $(VENV)/with-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/with-test
	$(BIN)/mypy

# The shims of pyenv are there for versions that are not in use, too, so each is tried.
versions:
	@for v in $(VERSIONS); do \
		python=$$(ls -d $$HOME/.pyenv/versions/$$v.*/bin/python 2>/dev/null | tail -1); \
		python=$${python:-python$$v}; \
		$(call usable,$$python) || { echo "Python $$v: not on this machine"; continue; }; \
		$(MAKE) --no-print-directory VENV=.venv-$$v PYTHON=$$python version || exit 1; \
	done

# What compiles and forks nothing that the others do not, and what `make compat` runs.
SAME := $(addprefix tests/,compat project engine/test_map_overlap.py)
# Faults take minutes to strike, too: `make faults VENV=.venv-3.13` lets them strike another version.
version: $(VENV)/with-test
	$(BIN)/pytest -q -m "not slow" $(UNIT) --ignore=tests/faults $(SAME:%=--ignore=%)

# What is installed are surroundings of some scenarios, which are left out without them.
faults: $(VENV)/with-test
	$(BIN)/pip install --quiet --disable-pip-version-check ipykernel pytest-xdist distributed
	PYTHONPATH=tests $(BIN)/python tests/faults

soak: $(VENV)/with-test
	PYTHONPATH=tests $(BIN)/python tests/faults/strikes.py --strikes 10000
	PYTHONPATH=tests $(BIN)/python tests/faults --soak --repeat 100 --load 600

dtypes: $(VENV)/with-test
	SHAREDMEM_TEST_ALL_DTYPES=1 $(BIN)/pytest tests/kernels tests/functions tests/expressions tests/cli

KINDS ?= x86-64-v2 x86-64-v3 x86-64-v4
processors: $(VENV)/with-test
	$(BIN)/python tests/processors.py --kinds $(KINDS)

# Atheris is not for every Python, so it stands in no extra of the package.
fuzz: $(VENV)/with-test
	$(BIN)/pip install --quiet --disable-pip-version-check atheris
	for target in frames pickles expressions; do \
		$(BIN)/python tests/fuzz $$target -max_total_time=60 -verbosity=0 || exit 1; \
	done
	SHAREDMEM_FUZZ_PROGRAMS=300 SHAREDMEM_FUZZ_STEPS=50 $(BIN)/pytest -q tests/pool/test_stateful.py

coverage: $(VENV)/with-test
	$(BIN)/pytest --cov --cov-report=term:skip-covered

# -P: from this folder, Python would find this package instead of 0.3.8.
compat: $(OLD)/with-0.3.8
	$(OLD)/bin/python -P -m pytest -q -c /dev/null --rootdir=tests/compat --confcutdir=tests/compat \
		-p no:cacheprovider --timeout=30 tests/compat

# The peers get an environment of their own. QUICK=1 leaves docs/ as it is; RESUME=1 goes on where a run has ended.
# MACHINE names the folder of the results: make bench MACHINE=intel-xeon-16-cores
MACHINE ?= amd-epyc-2-cores
RESULTS := $(if $(QUICK),build/benchmarks,benchmarks/results)/$(MACHINE)
PAGE := $(if $(QUICK),build/benchmarks,docs)/benchmarks.md
bench: $(OLD)/with-0.3.8
	$(MAKE) --no-print-directory VENV=.venv-bench .venv-bench/with-bench
	.venv-bench/bin/python benchmarks/run.py $(if $(QUICK),--quick) $(if $(RESUME),--resume) \
		--old-python $(OLD)/bin/python --results $(RESULTS); status=$$?; \
	.venv-bench/bin/python benchmarks/report.py $(RESULTS) --output $(PAGE) && exit $$status

# asv: builds each commit, and runs the rows whose names fit ROWS on it
ROWS ?= .
COMMITS ?= main HEAD
regressions:
	$(MAKE) --no-print-directory VENV=.venv-bench .venv-bench/with-bench
	cd benchmarks && ../.venv-bench/bin/asv machine --yes
	cd benchmarks && ../.venv-bench/bin/asv continuous --factor 1.2 -b '$(ROWS)' $(COMMITS)

clean:
	rm -rf .venv .venv-*

.PRECIOUS: $(VENV)/bin/python
$(VENV)/bin/python $(OLD)/bin/python:
	@test -n "$(PYTHON)" || { echo "sharedmem needs Python 3.11 or newer; none was found" >&2; exit 1; }
	$(PYTHON) -m venv $(@D)/..

$(VENV)/with-%: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile --editable '.[$*]'
	touch $@

$(OLD)/with-0.3.8: | $(OLD)/bin/python
	$(OLD)/bin/pip install --quiet --disable-pip-version-check --no-compile \
		sharedmem==0.3.8 pytest pytest-timeout
	touch $@
