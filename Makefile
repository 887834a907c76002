PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready

.PHONY: demo test check format bench docs clean

demo: $(READY)
	$(BIN)/primaldual compare JapaneseVowels --out runs/demo

test: $(READY)
	$(BIN)/python -m pytest --numprocesses 2

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev,bench]"
	$(BIN)/python -m benchmarks.performance --out benchmarks/results

docs: $(READY)
	$(BIN)/python -m docs.build
	$(BIN)/python -m docs.make_performance
	$(BIN)/python docs/figures/make_from_svr_to_attention.py

$(READY): pyproject.toml constraints.txt
	@echo "Setting up $(VENV): torch, aeon and the tools, once, a few minutes."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $(READY)

clean:
	rm -rf $(VENV) runs
