# How well can an outsider tell which records a classifier was trained on?
#
# Stages are programs that make one file from others. Each depends on its stamp, the
# JSON of all that decides its artifact, rewritten only when that changes; so an edited
# section of the config reruns its own stage and those after it.

CONFIG ?= configs/digits.toml
RUN := artifacts/$(basename $(notdir $(CONFIG)))
STAGES := records blind split target references features attack report
STAMPS := $(STAGES:%=$(RUN)/stamps/%.json)

# Workers of the attack stage; empty means one for each processor.
JOBS ?=
export JOBS
# MindSpore's own log: 3 is errors only. It warns of every device it looks for in vain.
export GLOG_v ?= 3
# On a CPU with AVX-512 the oneDNN within MindSpore 2.10 knows only a reference loop for
# MindSpore's layout of convolutions; held to AVX2 it is a hundred times as fast.
export ONEDNN_MAX_CPU_ISA ?= AVX2

# An interpreter given by the user is used as it is; else one is set up in .venv.
ifdef PYTHON
  READY := check
else
  PYTHON := .venv/bin/python
  READY := .venv/ready
endif
INPUTS := --config $(CONFIG) $(if $(DATA),--data $(DATA))

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

## audit: run every stage that is not up to date, and print the verdict
.PHONY: audit
audit: $(RUN)/report/report.json
	@echo "the report is in $(RUN)/report/"

## blind: tell members from non-members by their inputs, without the model
.PHONY: blind
blind: $(RUN)/blind/blind.json

## split: choose the audited records and divide them for the attacks
.PHONY: split
split: $(RUN)/split/split.h5

## target: train the model under audit, or check the checkpoint that is given
.PHONY: target
target: $(RUN)/target/target.json

## references: train the models that the target is compared with, or check those given
.PHONY: references
references: $(RUN)/references/references.h5

## features: extract the signals of all models, once, into the cache
.PHONY: features
features: $(RUN)/features/complete.json

## attack: search and run the attacks on the cached features
.PHONY: attack
attack: $(RUN)/attack/scores.h5

## report: say what the attacks found
.PHONY: report
report: $(RUN)/report/report.json

## plan: show what the next run would do, and why
.PHONY: plan
plan: $(READY)
	@$(PYTHON) -m stages.plan $(INPUTS)

.PHONY: records
records: $(RUN)/records/records.h5

$(RUN)/records/records.h5: $(RUN)/stamps/records.json
$(RUN)/blind/blind.json: $(RUN)/stamps/blind.json $(RUN)/records/records.h5
$(RUN)/split/split.h5: $(RUN)/stamps/split.json $(RUN)/records/records.h5
$(RUN)/target/target.json: $(RUN)/stamps/target.json $(RUN)/records/records.h5
$(RUN)/references/references.h5: $(RUN)/stamps/references.json $(RUN)/target/target.json
$(RUN)/features/complete.json: $(RUN)/stamps/features.json $(RUN)/references/references.h5
$(RUN)/attack/scores.h5: $(RUN)/stamps/attack.json $(RUN)/split/split.h5 $(RUN)/features/complete.json
$(RUN)/report/report.json: $(RUN)/stamps/report.json $(RUN)/blind/blind.json $(RUN)/attack/scores.h5

$(RUN)/records/records.h5 $(RUN)/blind/blind.json $(RUN)/split/split.h5 $(RUN)/target/target.json $(RUN)/references/references.h5 $(RUN)/features/complete.json $(RUN)/attack/scores.h5 $(RUN)/report/report.json:
	@$(PYTHON) -m stages.$(basename $(notdir $<)) --stamp $<

# One process writes all stamps, and only those that changed; then the recipe of each
# has make look at its time again.
$(STAMPS): stamps
	@:
.PHONY: stamps
stamps: $(READY)
	@$(PYTHON) -m stages.stamp $(INPUTS)

## setup: make the virtual environment in .venv
.PHONY: setup
setup: $(READY)

.venv/ready: pyproject.toml
	@[ -x .venv/bin/pip ] && exit; \
	for python in python3 python3.12 python3.11 python3.10; do \
	  $$python -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' 2>/dev/null && break; \
	done || { echo "error: no Python 3.10 to 3.12 found. Fix: install one, or pass PYTHON=." >&2; exit 1; }; \
	echo "setting up .venv with $$($$python --version)" && $$python -m venv .venv
	@.venv/bin/python -m pip install --quiet --editable '.[dev]'
	@touch $@

.PHONY: check
check:
	@$(PYTHON) -m stages.check

## test: run every test
.PHONY: test
test: $(READY)
	@$(PYTHON) -m pytest

## soak: run the simulations at full size, and on images in DATA if given
.PHONY: soak
soak: $(READY)
	@$(PYTHON) -m pytest tests -m simulation --soak $(if $(DATA),--images=$(DATA))

## lint: check the code's form and types
.PHONY: lint
lint: $(READY)
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m mypy pipeline stages

## clean: remove what the stages of this CONFIG made
.PHONY: clean
clean:
	rm -rf $(RUN)

## help: list these commands
.PHONY: help
help:
	@echo 'make audit [CONFIG=configs/NAME.toml] [DATA=path] [JOBS=n] [PYTHON=path]'
	@sed -n 's/^## \(.*\): /  \1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 14
