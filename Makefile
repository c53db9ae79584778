# Every target makes or refreshes its own virtual environment; nothing needs to be activated.
#   make demo     proxy, agent and a small backend on this machine
#   make test     everything that CI runs; or a part of it: lint, audit, unit, integration, docs
#   make compiled a copy whose hot path is compiled to C, in build/compiled, and a wheel of it in dist/
#   make bench    the benchmark, of that copy; make bench OF=. is of the checkout as it is
#   make clean    removes what was made
#   make chaos    ten minutes in which everything fails at random; CHAOS="--minutes 2" has it shorter
#   make soak     ten minutes of mixed traffic while agents come and go, of which nothing may be left; SOAK="--minutes 60"
#   make faults   every fault once, at every moment of a request; FAULTS="--carrier poll" has half of it
#   make fuzz     a minute of fuzzing of what reads the bytes of strangers; FUZZ="--seconds 600" has it longer

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

UNIT := $(filter-out invproxy/test/test_integration%,$(wildcard invproxy/test/test_*.py soak/test_*.py))
INTEGRATION := $(wildcard invproxy/test/test_integration*.py)
modules = $(subst /,.,$(basename $(1)))
# The arguments of trial: two workers suit the two cores of a small machine, and three where they mostly wait.
TRIAL := -j2
TRIAL_INTEGRATION := -j3

.NOTPARALLEL:
.PHONY: demo test lint audit unit integration docs compiled test-compiled bench chaos faults soak fuzz clean packages begin-provider provider

demo: $(VENV)/installed
	@exec $(BIN)/python examples/demo.py

test: packages begin-provider $(VENV)/installed-lint $(VENV)/installed-audit $(VENV)/installed-test $(VENV)/installed-docs $(VENV)/installed-integration provider
	@MAKE='$(MAKE)' SOAK='$(or $(SOAK),--minutes 2)' $(BIN)/python .ci/steps --beside soak --beside docs lint audit unit integration

lint: $(VENV)/installed-lint $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

audit: $(VENV)/installed-audit
	$(BIN)/python -m bandit -q -c pyproject.toml -r invproxy examples tools twisted .ci
	$(BIN)/python tools/audit.py

unit: $(VENV)/installed-test
	$(BIN)/python -m twisted.trial $(TRIAL) $(call modules,$(UNIT))

integration: $(VENV)/installed-test $(VENV)/installed-integration
	$(if $(INTEGRATION),$(BIN)/python -m twisted.trial $(TRIAL_INTEGRATION) --temp-directory=_trial_temp-integration $(call modules,$(INTEGRATION)),@echo "no integration tests")

docs: $(VENV)/installed-docs
	$(BIN)/python -m sphinx -E -W --keep-going -q -b html docs docs/_build/html
	PYTHONPATH=docs $(BIN)/python -m pydoctor --config=docs/pydoctor.ini
	@echo "docs: docs/_build/html/index.html"

compiled: packages $(VENV)/installed-compile
	$(BIN)/python tools/compile.py build/compiled --wheel

test-compiled: compiled $(VENV)/installed-test
	cd build/compiled && $(CURDIR)/$(BIN)/python -m twisted.trial $(TRIAL) $(filter-out %.test_packaging,$(call modules,$(UNIT)))

OF := build/compiled

bench: packages $(VENV)/installed-test $(if $(filter build/compiled,$(OF)),compiled)
	cd $(OF) && $(CURDIR)/$(BIN)/python -m benchmarks $(BENCH)

chaos: $(VENV)/installed
	$(BIN)/python -m chaos $(CHAOS)

soak: $(VENV)/installed
	$(BIN)/python -m soak $(SOAK)

faults: $(VENV)/installed
	$(BIN)/python -m chaos.matrix $(FAULTS)

fuzz: $(VENV)/installed-test $(VENV)/installed-fuzz
	$(BIN)/python -m fuzz $(FUZZ)

clean:
	rm -rf $(VENV) build dist docs/_build *.egg-info _trial_temp* .mypy_cache .ruff_cache .hypothesis

packages:
	@.ci/packages

# It is installed beside the Python packages.
begin-provider:
	@.ci/provider begin

provider:
	@.ci/provider wait

# One stamp for the package alone, one for each extra of setup.cfg.
$(VENV)/installed: setup.cfg pyproject.toml | $(VENV)/made
	@echo "installing into $(VENV), which takes about half a minute"
	@$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/installed-%: setup.cfg pyproject.toml | $(VENV)/made
	$(BIN)/python -m pip install --quiet --editable '.[$*]'
	@touch $@ $(VENV)/installed

$(VENV)/made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "invproxy needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; try: make PYTHON=python3.11")'
	@$(PYTHON) -m venv $(VENV) || { echo "no virtual environment could be made; on Debian: apt-get install python3-venv" >&2; rm -rf $(VENV); exit 1; }
	@touch $@
