# `make help` lists the targets. PYTHON=/path/to/python chooses the interpreter of the first set-up.

VENV := .venv
VENV_TF1 := .venv-tf1
VENV_DOCS := .venv-docs
PIP := -m pip install -qq --disable-pip-version-check
# Each process takes a part of the tests in a row, so that files' fixtures are made once.
PYTEST := -m pytest -q -rs -n 2 --dist worksteal --durations=25
SIZE := full
# The folder that metarun makes for NormalizedMLP.
MLP := NormalizedMLP_GRUCell_20_2
# What the site shows, or links to.
PAGES := README.md CHANGELOG.md CONTRIBUTING.md LICENSE docs examples pretrained benchmarks
# TensorFlow's start-up chatter.
export TF_CPP_MIN_LOG_LEVEL ?= 3

.DEFAULT_GOAL := help
.PHONY: help demo pretrain benchmark ablation paper bench coverage docs test test-slow test-tf1 lint bazel clean

help:  ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*##/\1\t/p' $(MAKEFILE_LIST) | expand -t 12

demo: $(VENV)/ready  ## a shipped optimizer beside Adam, Muon and schedule-free AdamW, then some meta-training, into demo/
	$(VENV)/bin/python -m examples.demo

benchmark: $(VENV)/ready  ## the shipped optimizers beside hand-tuned ones, into benchmark/: hours (QUICK=1: minutes)
	$(VENV)/bin/python metatest.py --flagfile=pretrained/real_tasks.txt \
	  $(if $(QUICK),--flagfile=pretrained/benchmark_quick.txt --save_dir=benchmark/quick_real_tasks)
	$(VENV)/bin/python metatest.py --flagfile=pretrained/benchmark.txt \
	  $(if $(QUICK),--flagfile=pretrained/benchmark_quick.txt,--cards)
	$(if $(QUICK),,cp benchmark/results.md pretrained/results.md)
	$(if $(QUICK),,cp benchmark/real_tasks/results.md pretrained/real_tasks.md)
	$(if $(QUICK),,cp benchmark/real_tasks/overview.png pretrained/real_tasks.png)

ablation: $(VENV)/ready  ## whether curriculum and imitation help, into ablation/: 2 hours (SIZE=medium: less; QUICK=1: minutes)
	$(VENV)/bin/python -m benchmarks.ablation --size=$(if $(QUICK),quick,$(SIZE))

paper: $(VENV)/ready  ## a figure of the paper, FIGURE=2, 3, 5, lenet or nas, into paper/: many hours (ARGS='--only_published --steps=1000': less)
	$(VENV)/bin/python -m benchmarks.paper --figure=$(FIGURE) $(ARGS)

bench: $(VENV)/ready  ## times, growth and memory: a table, benchmarks/results.json and scaling.png
	$(VENV)/bin/python -m benchmarks.run $(if $(QUICK),--quick)

docs: $(VENV_DOCS)/ready  ## the pages of docs/, and the API from docstrings, as a site: site/html/index.html
	rm -rf site/pages && mkdir -p site/pages
	cd site/pages && ln -s $(addprefix ../../,$(PAGES)) .
	$(VENV_DOCS)/bin/mkdocs build --config-file docs/mkdocs.yml

test: $(VENV)/ready  ## the fast tests (COVERAGE=1: see coverage)
	$(VENV)/bin/python $(PYTEST) -m 'not slow' $(if $(COVERAGE),--cov --cov-report=)

coverage:  ## of `make test COVERAGE=1`: how much of the code it ran, the five least covered files first
	@$(VENV)/bin/coverage report --skip-empty --sort=cover | sed -n '1,7p; /^TOTAL/p'

test-slow: $(VENV)/ready  ## the slow tests
	$(VENV)/bin/python $(PYTEST) -m slow || [ $$? -eq 5 ]

test-tf1:  ## the fast tests on TensorFlow 1.15, where there is a Python 3.7
	@if [ -e $(VENV_TF1)/ready ] || tools/find_python.sh 3.7 >/dev/null; then \
	  $(MAKE) --no-print-directory run-tf1; \
	else \
	  echo 'SKIPPED: the tests on TensorFlow 1.15 did NOT run: there is no Python 3.7 here'; \
	fi

.PHONY: run-tf1
run-tf1: $(VENV_TF1)/ready
	$(VENV_TF1)/bin/python $(PYTEST) -m 'not slow'

pretrain: $(VENV)/ready  ## meta-train the optimizers of pretrained/ from nothing: about three hours
	for name in rnnprop l2o_dm hierarchical_rnn; do \
	  $(VENV)/bin/python metarun.py --flagfile=pretrained/$$name/flags.txt && \
	  cp pretraining/$$name/*/run.json pretraining/$$name/*/history.csv \
	    pretraining/$$name/*/model.ckpt-0.* pretrained/$$name || exit 1; \
	done
	$(VENV)/bin/python metarun.py --flagfile=pretrained/normalized_mlp/flags.txt
	$(VENV)/bin/python metarun.py --flagfile=pretrained/normalized_mlp/flags_wide.txt
	$(VENV)/bin/python -m l2o.commandline.average_runs pretraining/normalized_mlp/$(MLP) \
	  pretraining/normalized_mlp_wide/$(MLP)/model.ckpt-90 pretrained/normalized_mlp --overwrite \
	  --changes=pretrained/normalized_mlp/changes.txt

lint: $(VENV)/ready  ## ruff, mypy, one style, and whether the BUILD files agree with the sources
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/python -m tools.style
	$(VENV)/bin/python -m tools.build_files

bazel: $(VENV)/ready  ## build and test with Bazel, offline
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" tools/bazel_test.sh

clean:  ## remove what the other targets made
	rm -rf $(VENV) $(VENV_TF1) $(VENV_DOCS) site demo .pytest_cache .ruff_cache .mypy_cache .coverage .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/ready: requirements/tf2.txt
$(VENV_DOCS)/ready: requirements/docs.txt
$(VENV)/ready $(VENV_DOCS)/ready:
	@python='$(PYTHON)'; python=$${python:-$$(tools/find_python.sh 3.11+)} || \
	  { echo 'Python 3.11 or newer is needed: install it, or say PYTHON=/path/to/it' >&2; exit 1; }; \
	echo "Setting up $(@D) with $$python (minutes, the first time)"; \
	"$$python" -m venv $(@D)
	@$(@D)/bin/python $(PIP) -r $<
	@touch $@

$(VENV_TF1)/ready: requirements/tf1.txt
	@echo 'Setting up $(VENV_TF1) (minutes, the first time)'
	@"$$(tools/find_python.sh 3.7)" -m venv $(VENV_TF1)
	@$(VENV_TF1)/bin/python $(PIP) -r $<
	@touch $@
