# make demo        the main job on real input, with all set-up
# make test        lint, types, tests, doctests
# make docs        the site, in build/docs/html, and the programs of its pages
# make versions    the tests that can depend on the version of Python, on each version installed here
# make faults      every fault scenario, and how its call ended
# make soak        10,000 interrupts of array calls, 100 rounds of each random fault, and pools under
#                  load: half an hour
# make dtypes      the tests of kernels and of NumPy's functions with all dtypes: half an hour
# make processors  the numeric tests as on processors with and without AVX2 and AVX-512: an hour;
#                  KINDS=x86-64-v3 for one of them
# make fuzz        random programs against a model; tampered messages, pickles, and expressions
# make coverage    which lines the tests reach
# make compat      the programs of tests/compat against sharedmem 0.3.8
# make bench       compare with the peers, and write docs/benchmarks, for 40 minutes; QUICK=1 for five
#                  minutes
# make regressions rows of the benchmarks over commits: COMMITS="main HEAD" ROWS='scans.*cumsum'
# make clean       remove the environments

usable = $(1) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$(call usable,$$p) && echo $$p && break; done)
VERSIONS ?= 3.11 3.12 3.13
VENV := .venv
BIN := $(VENV)/bin
OLD := $(VENV)-0.3.8
# uv takes seconds where pip takes a minute; pip serves where uv cannot.
pip = $(1)/pip install --quiet --disable-pip-version-check --no-compile
install = { $(pip) uv && $(1)/uv pip install --quiet --python $(1)/python $(2); } || $(pip) $(2)

# Tests start Python a thousand times: without bytecode, each time would compile NumPy.
unexport PYTHONDONTWRITEBYTECODE

# Parts of a target run side by side, and each prints when it has ended.
ifeq (0,$(MAKELEVEL)$(filter -j% --jobs%,$(MAKEFLAGS)))
MAKEFLAGS += --jobs=2 --output-sync=target
endif

.PHONY: demo docs test lint types pools unit kernels engine callers doctests versions version faults soak \
	dtypes processors fuzz coverage compat bench regressions clean

demo: $(VENV)/with-plot
	$(BIN)/python examples/demo.py

# -W -n: warnings, such as links to headings or names that are not there, are errors.
docs: $(VENV)/with-test $(VENV)/with-docs
	$(BIN)/sphinx-build --fail-on-warning --keep-going --nitpicky --quiet docs build/docs/html
	$(BIN)/pytest -q tests/docs

# The longest first.
test: unit kernels callers pools engine types doctests lint

# Tests that compile many kernels, for minutes. They have a process of their own: it grows to more
# than a gigabyte, which would make every fork in the other tests slow.
KERNELS := tests/kernels tests/functions tests/expressions tests/engine/test_reduce_stored.py tests/cli
# Tests that call many compiled kernels from processes that they start, or other packages.
CALLERS := tests/project/test_benchmarks.py tests/cluster tests/objects tests/programs
# Tests that load numba, LLVM, or other large packages, which makes every fork slow.
ENGINE := tests/engine tests/machine/test_numba_internals.py tests/machine/test_helper_threads.py \
	tests/pool/test_spawn_backend.py tests/pool/test_trace.py
# Tests that fork thousands of times; those that load LLVM are the last.
POOLS := tests/workers tests/pool tests/memory
but = $(foreach path,$(1),--ignore=$(path))
UNIT := $(call but,$(KERNELS) $(CALLERS) $(ENGINE) $(POOLS) tests/docs)

pools: $(VENV)/with-test
	$(BIN)/pytest -q $(POOLS) $(call but,$(ENGINE))

unit: $(VENV)/with-test
	$(BIN)/pytest -q $(UNIT)

kernels: $(VENV)/with-test
	$(BIN)/pytest -q $(KERNELS)

engine: $(VENV)/with-test
	$(BIN)/pytest -q $(ENGINE) $(call but,$(KERNELS))

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

versions: $(VERSIONS:%=version-%)

# pyenv has shims also for versions that are not in use, so each interpreter is tried.
version-%:
	@python=$$(ls -d $$HOME/.pyenv/versions/$*.*/bin/python 2>/dev/null | tail -1); \
	python=$${python:-python$*}; \
	$(call usable,$$python) || { echo "Python $*: not on this machine"; exit 0; }; \
	$(MAKE) --no-print-directory VENV=.venv-$* PYTHON=$$python version

# Without tests whose outcome does not depend on the version of Python: arithmetic, which the others
# cover. Faults take minutes; `make faults VENV=.venv-3.13` injects them into another version.
SAME := $(addprefix tests/engine/test_,apply_ufunc.py map_chunks.py map_overlap.py reduce.py)
version: $(VENV)/with-test
	$(BIN)/pytest -q -m "not slow" $(POOLS) tests/arrays tests/machine $(call but,$(ENGINE))
	$(BIN)/pytest -q -m "not slow" $(ENGINE) $(call but,$(KERNELS) $(SAME))

# Some scenarios need these packages, and are skipped without them.
faults: $(VENV)/with-test
	$(call install,$(BIN),ipykernel pytest-xdist distributed)
	PYTHONPATH=tests $(BIN)/python tests/faults

soak: $(VENV)/with-test
	PYTHONPATH=tests $(BIN)/python tests/faults/strikes.py --strikes 10000
	PYTHONPATH=tests $(BIN)/python tests/faults --soak --repeat 100 --load 600
	SHAREDMEM_TEST_SEEDS=20 $(BIN)/pytest -q tests/pool -k "kill and (moment or lose)"

dtypes: $(VENV)/with-test
	SHAREDMEM_TEST_ALL_DTYPES=1 $(BIN)/pytest tests/kernels tests/functions tests/expressions tests/cli

KINDS ?= x86-64-v2 x86-64-v3 x86-64-v4
processors: $(VENV)/with-test
	$(BIN)/python tests/processors.py --kinds $(KINDS)

# Atheris does not support every Python, so it is not in an extra of the package.
fuzz: $(VENV)/with-test
	$(call install,$(BIN),atheris)
	for target in frames pickles expressions; do \
		$(BIN)/python tests/fuzz $$target -max_total_time=60 -verbosity=0 || exit 1; \
	done
	SHAREDMEM_FUZZ_PROGRAMS=300 SHAREDMEM_FUZZ_STEPS=50 $(BIN)/pytest -q tests/pool/test_stateful.py

coverage: $(VENV)/with-test
	$(BIN)/pytest --cov --cov-report=term:skip-covered

# -P: in this folder, Python would import this package instead of 0.3.8.
compat: $(OLD)/with-0.3.8
	$(OLD)/bin/python -P -m pytest -q -c /dev/null --rootdir=tests/compat --confcutdir=tests/compat \
		-p no:cacheprovider --timeout=30 tests/compat

# The peers have an environment of their own. The results of an earlier run are removed, unless
# RESUME=1 continues it. QUICK=1 changes neither them nor docs/. MACHINE names the folder of the
# results; the page of another machine has all its rows: make bench MACHINE=intel-xeon-16-cores
MACHINE ?= amd-epyc-2-cores
RESULTS := $(if $(QUICK),build/benchmarks,benchmarks/results)/$(MACHINE)
PAGES := $(if $(QUICK),build/benchmarks,docs/benchmarks)
REPORT := --page $(PAGES)/index.md --tables $(PAGES)/tables.md $(if $(QUICK),,--readme README.md)
ifeq ($(MACHINE),intel-xeon-16-cores)
REPORT := --tables $(PAGES)/16-cores.md --title "16 cores"
endif
bench: $(OLD)/with-0.3.8
	$(MAKE) --no-print-directory VENV=.venv-bench .venv-bench/with-bench
	.venv-bench/bin/python benchmarks/run.py $(if $(QUICK),--quick) \
		$(if $(RESUME),--resume,--afresh) --old-python $(OLD)/bin/python --results $(RESULTS); \
	status=$$?; [ $$status -le 1 ] || exit $$status; \
	.venv-bench/bin/python benchmarks/report.py $(RESULTS) $(REPORT) && exit $$status

# asv builds each commit, and runs the rows whose names match ROWS: sums, cumsum, sort, map of 2 and of
# 100,000 tasks, and map_chunks, or ROWS=. for all.
ROWS ?= reductions.*\(.sum-(8MiB|1GiB).\)|scans.*\(.cumsum-(8MiB|1GiB).\)|orders.*\(.sort-(8MiB|128MiB).\)|pool.*\(.(start-2|tasks-2).\)|elementwise.*\(.map_chunks-(8MiB|128MiB).\)
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

# flock: pip and uv write beside the sources of the package, so they must not run twice at once.
$(VENV)/with-%: pyproject.toml | $(VENV)/bin/python
	flock pyproject.toml sh -c "$(call install,$(BIN),--editable '.[$*]')"
	touch $@

$(OLD)/with-0.3.8: | $(OLD)/bin/python
	$(call install,$(OLD)/bin,sharedmem==0.3.8 pytest pytest-timeout)
	touch $@
