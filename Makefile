# `make study` runs the default study, `make test` the tests, `make bench` compares costs; each sets up .venv where needed.
# `make pack` and `make unpack` take results to another machine: BUNDLE=bundle.tar, RULES="what made them", by default all.
# `make verify` says whether the results of a study are as its jobs wrote them.
# `make envs` writes envs/*.yaml from pyproject.toml; `make test-conda` runs the smoke study in them.
# `make test-browser` opens the reports in Chromium.
# `make cluster` adds the executors of cluster profiles to .venv; `make test-cluster` runs the smoke study through SLURM.
PYTHON ?= python3
CORES ?= all
STUDY ?=
BUNDLE ?= bundle.tar
RULES ?=
SHELL := bash
export PATH := $(CURDIR)/.venv/bin:$(PATH)

CONFIG = $(if $(STUDY),--configfile $(STUDY))
OUTPUT = $(if $(STUDY),$(shell sed -n 's/^  output: *//p' $(STUDY)),results)

.PHONY: study pack unpack verify test test-conda test-cluster test-browser cluster lint envs bench clean

study: .venv/ready
	snakemake --cores $(CORES) $(CONFIG)
	@echo; cat $(OUTPUT)/reports/summary.txt

pack: .venv/ready
	python -m overpaint.bundle pack $(OUTPUT) $(BUNDLE) $(RULES)

unpack: .venv/ready
	python -m overpaint.bundle unpack $(BUNDLE) $(OUTPUT)

verify: .venv/ready
	python -m overpaint.bundle verify $(OUTPUT)

test: .venv/ready lint
	pytest

test-conda: .venv/ready
	pytest -m conda

test-cluster: cluster
	pytest -m cluster

test-browser: .venv/browser
	pytest -m browser

cluster: .venv/cluster

envs: .venv/ready
	python envs/generate.py

lint: .venv/ready
	python envs/generate.py --check
	ruff check .
	ruff format --check .
	snakefmt --check --no-sort Snakefile workflow
	snakemake --lint

bench: .venv/ready
	snakemake --cores $(CORES) --configfile studies/smollm2.yaml -- results/smollm2/smollm2-135m/checkpoint results/smollm2/downloads/wikipedia
	python tests/bench.py --smollm2 results/smollm2/smollm2-135m/checkpoint

.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "overpaint needs Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	touch $@

.venv/cluster .venv/browser: .venv/ready
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[$(@F)]"
	touch $@

clean:
	rm -rf .venv .snakemake logs results
