# `make demo` and `make test` are all a newcomer needs; `make help` lists the rest.

PYTHON ?= python3
VENV ?= .venv
DEMO ?= demo

bin := $(VENV)/bin
installed := $(VENV)/.installed
demo_data := $(DEMO)/phase_diagrams
demo_run := $(DEMO)/run

.DEFAULT_GOAL := help
.PHONY: help install demo lint format test test-slow bench clean

help: ## List the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

install: $(installed) ## Make the virtual environment and install what is needed into it

$(installed): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(bin)/pip install --quiet --upgrade pip
	$(bin)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(installed) ## Generate phase diagrams, train a small net on them, evaluate it (5 minutes)
	$(bin)/python download_and_convert_data.py --dataset_name=phase_diagrams --dataset_dir=$(demo_data)
	$(bin)/python train_image_classifier.py --flagfile=recipes/demo.flags \
	  --dataset_dir=$(demo_data) --train_dir=$(demo_run)
	$(bin)/python eval_image_classifier.py --checkpoint_path=$(demo_run) --min_accuracy=0.95
	@echo
	@echo "To look at the run: $(bin)/tensorboard --logdir=$(DEMO)"

lint: $(installed) ## Check style and format
	$(bin)/ruff check .
	$(bin)/ruff format --check .

format: $(installed) ## Bring the code into the project's format
	$(bin)/ruff check --fix .
	$(bin)/ruff format .

test: lint ## Lint and run the test suite (under 10 minutes)
	$(bin)/python -m pytest tests --ignore=tests/slow -m "not slow" -n 2 --dist loadfile

test-slow: $(installed) ## Run the long tests: marked slow, every net, tf-slim's own, whole benchmarks, the campaign
	$(bin)/python -m pytest tests --ignore=tests/slow -m slow -n 2 --dist loadfile
	$(bin)/python -m pytest tests/slow
	$(bin)/python -m tests.slow.campaign

bench: $(installed) ## Measure speed and memory, beside Keras and PyTorch (two hours; BENCH=--quick: minutes)
	$(bin)/pip install --quiet --constraint constraints.txt --editable '.[bench]'
	$(bin)/python -m benchmarks --picture=scaling.png $(BENCH)

clean: ## Remove the virtual environment and the demo
	rm -rf $(VENV) $(DEMO)
