PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
CONFIG = configs/addition.py
GPU_COMPILER = .cache/gpu-compile

.PHONY: help laptop full smoke bench test slow gpu-compile format web clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*##/\1\t/p' $(MAKEFILE_LIST) | expand -t 12

laptop: $(VENV)/installed  ## the 90-run study: minutes on two CPU cores; ends with runs/addition-laptop/analysis/report.html
	$(BIN)/python launch.py --config=$(CONFIG):laptop

full: $(VENV)/installed  ## the 300-run study: one GPU, hours
	$(BIN)/python launch.py --config=$(CONFIG)

smoke: $(VENV)/installed  ## the same in seconds, on two-digit operands
	$(BIN)/python launch.py --config=$(CONFIG):smoke

bench: $(VENV)/installed-bench  ## training speed beside PyTorch, plain JAX and others: some 50 minutes on two CPU cores
	$(BIN)/python -m benchmarks.stack

test: $(VENV)/installed-dev  ## what CI runs: lint and the default tests
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

slow: $(VENV)/installed-dev  ## the long tests
	$(BIN)/python -m pytest -m slow

gpu-compile: $(VENV)/installed-dev $(GPU_COMPILER)/installed  ## compiles for GPUs, without one, and counts kernels; downloads 180 MB
	PYTHONPATH=$(GPU_COMPILER) $(BIN)/python -m pytest -m slow tests/slow/gpu

format: $(VENV)/installed-dev  ## rewrites the code in its own style
	$(BIN)/ruff check --fix . && $(BIN)/ruff format .

web: $(VENV)/installed  ## renews the libraries inside report.html, as static/vendor/vendor.json names them; needs npm
	$(BIN)/python -m vsweep.analysis.report.interactive.vendor

clean:  ## forgets the environment and the test caches; results in runs/ stay
	rm -rf $(VENV) .cache .pytest_cache .ruff_cache

$(VENV)/installed: requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/installed-dev: requirements-dev.txt $(VENV)/installed
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

$(VENV)/installed-bench: benchmarks/requirements.txt $(VENV)/installed
	$(BIN)/pip install --quiet --disable-pip-version-check -r benchmarks/requirements.txt
	touch $@

$(GPU_COMPILER)/installed: requirements-gpu-compile.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --upgrade --target $(GPU_COMPILER) -r requirements-gpu-compile.txt
	touch $@
