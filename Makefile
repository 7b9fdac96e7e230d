# How well can an outsider tell which records a classifier was trained on?
#
# A goal that makes something is handed to stages/run.py. It checks the config, writes
# all that decides each artifact, and has make run the stages that no longer hold, by
# rules written from the list of stages in pipeline/cache/stages.py.

CONFIG ?= configs/digits.toml
DATA ?=
# Anything prints the whole report, not one screen of it.
VERBOSE ?=
# Workers of the attack stage; empty means one for each processor.
JOBS ?=
# Processes that train and run networks, on each of NODES hosts that share a folder.
RANKS ?=
NODES ?=
NODE_RANK ?=
MASTER ?=
# A Dask cluster that does the work of both, as tcp://host:8786.
SCHEDULER ?=
# MindSpore's own log: 4 is what ends the process. It warns of every device that it
# cannot find, and its errors are raised as well.
export GLOG_v ?= 4
# On a CPU with AVX-512 the oneDNN within MindSpore 2.10 knows only a reference loop for
# MindSpore's layout of convolutions; held to AVX2 it is a hundred times as fast.
export ONEDNN_MAX_CPU_ISA ?= AVX2

# Goals that read reports, for which a few packages do.
LIGHT := gate verify compare
# An interpreter given by the user is used as it is; else, or if what is given is empty,
# one is set up in .venv.
ifdef PYTHON
  READY := check
else
  override PYTHON := .venv/bin/python
  READY := .venv/ready
endif

# What a shell has under these common names is not meant for make.
TYPED := NAME KIND FROM TARGET REPORT A B RECORDS NODES NODE_RANK MASTER \
  SIZE ONLY ANEW PAIRS MINDARMOUR
$(foreach name,$(TYPED),\
  $(if $(filter command,$(origin $(name))),,$(eval override $(name) :=)))

# Programs get these by the environment, as they were typed: neither make nor a shell
# reads what stands in them.
VARIABLES := CONFIG DATA JOBS RANKS SCHEDULER PYTHON VERBOSE $(TYPED)
$(foreach name,$(VARIABLES),$(eval override $(name) := $$(value $(name))))
export $(VARIABLES)

LIST := pipeline/cache/stages.py
STAGES := $(shell sed -n 's/^ *name="\(.*\)",$$/\1/p' $(LIST))

.DEFAULT_GOAL := help
# Two goals of one audit would make the same files at once; `-j` is for within a goal.
.NOTPARALLEL:

## audit: run every stage that no longer holds, and print the verdict
.PHONY: audit $(STAGES)
audit $(STAGES): $(READY)
	+@"$$PYTHON" -m stages.run $@ "$(MAKE)"

## plan: show what the next run would do, what it takes, and why
.PHONY: plan
plan: $(READY)
	@"$$PYTHON" -m stages.plan

## probe: time a pass and a step of the network, for plan to know what is ahead
.PHONY: probe
probe: records
	@"$$PYTHON" -m stages.probe

## status: show which stages hold, how large they are, and how long they took
.PHONY: status
status: $(READY)
	@"$$PYTHON" -m stages.status

## gate: judge the report by the limits in [gate], and run no stage
.PHONY: gate
gate: $(READY)
	@"$$PYTHON" -m stages.gate

## verify: check that REPORT=file is what an audit made of its artifacts
.PHONY: verify
verify: $(READY)
	@"$$PYTHON" -m stages.verify

## compare: compare two audits of the same records, A=NAME B=NAME
.PHONY: compare
compare: $(READY)
	@"$$PYTHON" -m stages.compare

## infer: were these records used in training? RECORDS=folder of images, or .npz
.PHONY: infer
infer: $(READY)
	@"$$PYTHON" -m stages.infer

## new: make a folder to start from, NAME=mine [KIND=own|arrays|images]
.PHONY: new
new: $(READY)
	@"$$PYTHON" -m stages.new

## import: take over models of the LiRA code, FROM=folder NAME=mine [TARGET=model]
.PHONY: import
import: $(READY)
	@"$$PYTHON" -m stages.import_

## clean: remove what the stages of this CONFIG made
.PHONY: clean
clean: $(READY)
	@"$$PYTHON" -m stages.clean

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

## check: check the interpreter PYTHON=, and say what was tried with its MindSpore
.PHONY: check
check:
	@"$$PYTHON" -m stages.check $(filter check,$(MAKECMDGOALS)) \
	  $(if $(filter-out $(LIGHT),$(MAKECMDGOALS)),,$(MAKECMDGOALS))

## test: run every test
.PHONY: test
test: $(READY)
	@"$$PYTHON" -m pytest

## soak: run the simulations at full size, and on images in DATA if given
.PHONY: soak
soak: $(READY)
	@"$$PYTHON" -m pytest tests -m simulation --soak --timeout=0 $${DATA:+"--images=$$DATA"}

## bench: time audits beside MindArmour's, see docs/bench.md; SIZE=tiny ONLY=parts
.PHONY: bench
bench: $(READY)
	@"$$PYTHON" -m tests.bench

## judge: train the amortised attack's judge anew, in the folder DATA
.PHONY: judge
judge: $(READY)
	@"$$PYTHON" -m tests.judge "$$DATA" --jobs "$${JOBS:-1}" \
	  --out pipeline/attacks/judge.npz

## lint: check the code's form and types
.PHONY: lint
lint: $(READY)
	@"$$PYTHON" -m ruff format --check .
	@"$$PYTHON" -m ruff check .
	@"$$PYTHON" -m mypy pipeline stages membership_audit.py

## help: list these commands
.PHONY: help
help:
	@echo 'make audit [CONFIG=configs/NAME.toml] [DATA=path] [JOBS=n] [RANKS=n]'
	@echo '           [SCHEDULER=tcp://host:8786] [PYTHON=path] [VERBOSE=1]'
	@{ sed -n 's/^## audit: /audit\t/p' Makefile; \
	  sed -n '/^ *name=/{s/^ *name="\(.*\)",$$/\1/;N;s/\n *help="\(.*\)",$$/\t\1/p}' $(LIST); \
	  sed -n '/^## audit: /d; s/^## \(.*\): /\1\t/p' Makefile; \
	} | sed 's/^/  /' | expand -t 14
