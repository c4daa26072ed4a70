# `make study` runs the default study, `make test` the tests, `make bench` compares costs; each sets up .venv where needed.
# `make pack` and `make unpack` take results to another machine: BUNDLE=bundle.tar, RULES="what made them", by default all.
# `make bases` trains the base models of a study's worlds and keeps them in bases/, where `source: trained` finds them.
# `make verify` says whether the results of a study are as its jobs wrote them, from what is there.
# `make crate` writes a study and how it was made as an RO-Crate, CRATE=crate.zip; `make release` what a DOI would hold.
# `make tune` tries the settings that a study's `tune` lists, on the split fit alone, and says which one is chosen.
# `make findings` takes over the tables of the studies that ended here, and writes README.md and docs/findings.md from them.
# `make docs` builds the site of docs/ in site/; a warning is an error.
# `make envs` writes envs/*.yaml from pyproject.toml; `make test-conda` runs jobs in some of them.
# `make test-browser` opens the reports and the site in Chromium.
# `make cluster` adds the executors of cluster profiles to .venv; `make test-cluster` runs jobs of it through SLURM.
# `make test-all` also kills each rule's job, fills its disk, and runs the whole smoke study in conda and through SLURM.
PYTHON ?= python3
CORES ?= all
STUDY ?=
BUNDLE ?= bundle.tar
CRATE ?= crate.zip
RULES ?=
SHELL := bash
export PATH := $(CURDIR)/.venv/bin:$(PATH)

# What stands in these reaches recipes through the environment, in quotes: make and shells obey nothing in it.
override CORES := $(value CORES)
override STUDY := $(value STUDY)
override BUNDLE := $(value BUNDLE)
override CRATE := $(value CRATE)
override RULES := $(value RULES)
export CORES STUDY BUNDLE CRATE RULES
export PYTHONUTF8 := 1

ifneq (,$(findstring :,$(CURDIR))$(findstring {,$(CURDIR))$(findstring },$(CURDIR)))
$(error The path of this checkout holds a colon or a brace, which PATH and Snakemake read as their own: rename the folder)
endif

.PHONY: study tune pack unpack verify crate release findings docs bases test test-all test-conda test-cluster test-browser cluster lint envs bench bench-memory clean

study: .venv/ready
	@python -m overpaint.study.start check "$$STUDY"
	@python -m snakemake --logger overpaint --cores "$$CORES" $${STUDY:+"--configfile=$$STUDY"}
	@reports="$$(python -m overpaint.study.start results "$$STUDY")/reports" && echo && cat -- "$$reports/summary.txt" && \
	printf '\nNext: open %s/index.html in a browser; README.md says how to make a study of your own.\n' "$$reports"

tune: .venv/ready
	@python -m overpaint.study.start tune "$$STUDY"
	@results="$$(python -m overpaint.study.start results "$$STUDY")" && \
	python -m snakemake --logger overpaint --cores "$$CORES" $${STUDY:+"--configfile=$$STUDY"} -- "$$results/tuned" && \
	echo && cat -- "$$results/tuned/summary.txt"

pack: .venv/ready
	@set -f; python -m overpaint.commands pack "--study=$$STUDY" -- "$$BUNDLE" $$RULES

unpack: .venv/ready
	@python -m overpaint.commands unpack "--study=$$STUDY" -- "$$BUNDLE"

bases: .venv/ready
	@python -m overpaint.study.start check "$$STUDY"
	@python -m snakemake --logger overpaint --cores "$$CORES" $${STUDY:+"--configfile=$$STUDY"} -- bases
	@results="$$(python -m overpaint.study.start results "$$STUDY")" && python -m overpaint.models.trained "$$results"

verify: .venv/ready
	@python -m overpaint.commands verify "--study=$$STUDY"

crate: .venv/archive
	@results="$$(python -m overpaint.study.start results "$$STUDY")" && python -m overpaint.archive.crate "$$results" "$$CRATE"

release: .venv/archive
	@python -m overpaint.archive.release

findings: .venv/ready
	@python -m overpaint.findings.writing

docs: .venv/docs
	python -m mkdocs build

# Two processes, each with files of its own: some tests run studies on two cores themselves.
test: .venv/archive lint
	python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-all: test .venv/browser .venv/docs .venv/cluster
	python -m pytest -m "browser or conda or cluster or long"

test-conda: .venv/ready
	python -m pytest -m "conda and not long"

test-cluster: cluster
	python -m pytest -m "cluster and not long"

test-browser: .venv/browser .venv/docs
	python -m pytest -m browser

cluster: .venv/cluster

envs: .venv/ready
	python envs/generate.py

lint: .venv/ready
	python envs/generate.py --check
	python -m ruff check .
	python -m ruff format --check .
	python -m mypy
	python -m snakefmt --check --no-sort Snakefile workflow
	python -m snakemake --lint
	hadolint Containerfile

bench: .venv/ready
	python -m snakemake --logger overpaint --cores "$$CORES" --configfile studies/smollm2.yaml -- results/smollm2/smollm2-135m/checkpoint results/smollm2/downloads/wikipedia
	python tests/bench.py --smollm2 results/smollm2/smollm2-135m/checkpoint

bench-memory: .venv/ready
	python tests/bench_memory.py

.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "overpaint needs Python 3.11 or newer: make PYTHON=python3.11")'
	@test ! -L .venv || { echo '.venv is a link, and what it leads to would be cleared: remove the link.' >&2; exit 2; }
	$(PYTHON) -m venv --clear .venv   # what was cut off in between is not built upon
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	touch $@

.venv/cluster .venv/browser .venv/docs .venv/archive: .venv/ready
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[$(@F)]"
	touch $@

clean:
	rm -rf .venv .snakemake logs results site
