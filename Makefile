# make test   the tests            make demo   data, training, test and a table on this machine
# make lint   ruff                 make docs   the documentation site, docs/_build/html
# make clean  remove the environment (data and work_dirs stay)
#
# All in .venv, from the versions in requirements/lock.txt. A stamp is written only after its step has finished, so an
# interrupted step is simply done again.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help env test demo lint docs clean

help:
	@sed -n '1,3s/^# //p' Makefile

env: $(READY)

$(READY): $(wildcard requirements/*.txt) setup.py pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; v >= (3, 11) or sys.exit("The locked versions need Python 3.11 or newer, found %d.%d at %s. Say which to use: make PYTHON=/path/to/python3.11" % (v + (sys.executable,)))'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --constraint requirements/lock.txt --editable '.[standalone,tests,docs]'
	@touch $@

# Side by side; what a file's tests share is made once.
test: $(READY)
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

docs: $(READY)
	$(BIN)/python -m sphinx -W --keep-going docs docs/_build/html

# make_toygym.py keeps a complete set as it is and leaves nothing of an interrupted one.
demo: $(READY)
	$(BIN)/python tools/data/make_toygym.py --out data/toygym
	$(BIN)/python tools/run_demo.py

clean:
	rm -rf $(VENV) build dist *.egg-info
