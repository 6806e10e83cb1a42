# Packshot: everything a person needs, by name. `make help` lists it.
.DEFAULT_GOAL := help
.PHONY: help demo champion starter up down doctor test test-unit test-e2e mutation lint format types setup screenshots lock clean

BIN := .venv/bin

help: ## list these commands
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## make the virtual environment and install the locked requirements (done by the others as needed)
	@scripts/bootstrap

demo: setup ## the main job, end to end, in a real Airflow; ends with reports/latest/index.html
	@$(BIN)/packshot demo

champion: setup ## train the full recipe, register it and ask the gates (up to 3 hours on 2 cores)
	@$(BIN)/packshot champion

starter: setup ## make the model that comes with the package anew, below starter/ (about 20 minutes on 2 cores)
	@$(BIN)/packshot starter starter
	@cp starter/starter.zip src/packshot/starter/starter.zip

up: setup ## start the Airflow page and the MLflow page on loopback; says addresses and login
	@$(BIN)/packshot up

down: setup ## stop what `make up` started
	@$(BIN)/packshot down

doctor: setup ## check disk, memory, ports, git and package lists
	@$(BIN)/packshot doctor

test: setup ## lint, types, import contracts and all tests
	@scripts/test

test-unit: setup ## the fast tests only
	@scripts/test unit

test-e2e: setup ## the whole loop in a real Airflow, on a small data set
	@scripts/test e2e

mutation: setup ## mutate the promotion gates; fails where no test notices a change
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target .mutation \
	  -r requirements-mutation.txt
	@PYTHONPATH=.mutation $(BIN)/python tests/mutation.py

lint: setup ## style, types and import contracts
	@scripts/test lint

format: setup ## rewrite the sources in the project's style
	@$(BIN)/ruff check --fix --quiet src tests dags benchmarks
	@$(BIN)/ruff format src tests dags benchmarks

screenshots: setup ## make the pictures of the README anew (needs the mirror and a Chromium)
	@$(BIN)/python scripts/screenshots.py

lock: setup ## resolve what pyproject.toml asks for into requirements.lock
	@scripts/lock

clean: ## remove caches and the virtual environment; state under .packshot stays
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find src dags tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
