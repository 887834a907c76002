PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready

SITE_READY := $(VENV)/site-ready

OLDEST := .venv-oldest
OLDEST_READY := $(OLDEST)/ready

.PHONY: demo test test-long test-oldest check format bench bench-cuda docs gallery site licences dist clean

demo: $(READY)
	$(BIN)/primaldual compare JapaneseVowels --out runs/demo

test: $(READY)
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal

test-long: $(READY)
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal -m long

test-oldest: $(OLDEST_READY)
	$(OLDEST)/bin/python -m pytest --numprocesses 2 --dist worksteal

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

bench-cuda: $(READY)
	$(BIN)/python -m benchmarks.cuda benchmarks/results/cuda.json

docs: $(READY)
	$(BIN)/python -m docs.build
	$(BIN)/python -m docs.package_sizes
	$(BIN)/python -m docs.make_performance
	$(BIN)/python -m docs.make_gpu
	$(BIN)/python -m benchmarks.bench_cache_halving page
	$(BIN)/python docs/figures/make_from_svr_to_attention.py
	$(BIN)/python docs/figures/make_overview.py

licences: $(READY)
	$(BIN)/python -m tools.licences

dist: $(READY)
	rm -rf dist
	$(BIN)/python -c "from hatchling.build import build_sdist, build_wheel; build_sdist('dist'); build_wheel('dist')"

site: $(SITE_READY)
	$(BIN)/python -m docs.site.needs
	rm -rf build/site
	$(BIN)/python -m sphinx --fail-on-warning --builder html --doctree-dir build/doctrees docs build/site
	$(BIN)/python -m docs.site.check_links build/site

gallery: $(READY)
	$(BIN)/python examples/draw_gallery.py runs/gallery

$(READY): pyproject.toml constraints.txt
	@echo "Setting up $(VENV): torch, aeon and the tools, once, a few minutes."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $(READY)

$(SITE_READY): $(READY)
	@echo "Adding Sphinx and what it needs to $(VENV), once, half a minute."
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev,site]"
	touch $(SITE_READY)

$(OLDEST_READY): pyproject.toml constraints-oldest.txt
	@echo "Setting up $(OLDEST): the oldest versions that are declared, once, a few minutes."
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet --constraint constraints-oldest.txt --editable ".[test]"
	touch $(OLDEST_READY)

clean:
	rm -rf $(VENV) $(OLDEST) runs build docs/gallery
