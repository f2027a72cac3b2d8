PYTHON ?= python3
VENV := .venv
# Without bytecode every start of the command compiles its imports again.
unexport PYTHONDONTWRITEBYTECODE
BIN := $(VENV)/bin
comma := ,
EXTRAS := clip$(comma)dask$(comma)demo$(comma)dev$(comma)dicom$(comma)export$(comma)heif$(comma)postgres$(comma)s3$(comma)serve$(comma)tensorboard
# One thread per test process: the tests run in parallel processes. Memory that nothing was written to holds
# large numbers (glibc), so that a kernel which reads some fails each time, and not once in many runs.
TEST_ENV := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 MALLOC_PERTURB_=1 NO_ALBUMENTATIONS_UPDATE=1
# uv is fast; pip is the fallback where an index is set up for pip alone. Imports are compiled here, as pip
# does, and not during the first run.
define install
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt -e '.[$(1)]' \
		|| $(BIN)/python -m pip install --quiet -c constraints.txt -e '.[$(1)]'
endef

.PHONY: demo test test-ops check bench docs format browser postgres clean
.DELETE_ON_ERROR:

$(BIN)/uv:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv

$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/uv
	@echo "installing transferflow (PyTorch is large: a minute or more)"
	$(call install,demo)
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/uv
	$(call install,$(EXTRAS))
	@touch $@ $(VENV)/.demo

data/digits-5k: | $(VENV)/.demo
	$(BIN)/transferflow datasets fetch digits-5k $@

demo: $(VENV)/.demo | data/digits-5k  ## set up, and train, measure and register the quickstart
	$(BIN)/transferflow run specs/quickstart.yaml

test: $(VENV)/.dev browser postgres  ## set up, and run all tests
	$(TEST_ENV) $(BIN)/pytest -n auto --dist worksteal

test-ops: $(VENV)/.dev postgres  ## the tests of deployments, workers, recovery and refresh alone
	$(TEST_ENV) $(BIN)/pytest tests/pipelines tests/stages/refresh tests/stages/test_garbage.py

check: $(VENV)/.dev  ## lint, format, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy transferflow pipelines
	$(BIN)/lint-imports

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/.peers: benchmarks/requirements.txt constraints.txt $(VENV)/.dev
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(VENV)/peers
	$(BIN)/uv pip install --quiet --python $(VENV)/peers/bin/python -c constraints.txt -r benchmarks/requirements.txt
	@touch $@

bench: $(VENV)/.peers  ## side by side with a plain loop, Lightning, fastai and torchvision's reference loop
	$(BIN)/python benchmarks/peers.py --python $(VENV)/peers/bin/python --json bench.json

docs: $(VENV)/.dev  ## write docs/spec-reference.md from the schema
	$(BIN)/python -m transferflow.spec.schema.reference

browser:  # the report is tested in a real browser
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null || \
		{ echo "installing chromium"; apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
		apt-get install -y -qq --no-install-recommends chromium chromium-driver >/dev/null; } || \
		{ echo "the tests need chromium and chromedriver: install them and try again"; exit 1; }

postgres:  # Prefect and MLflow are tested on it; the test is skipped, and says so, where it can't be had
	@command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || \
		{ echo "installing postgresql"; apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
		apt-get install -y -qq --no-install-recommends postgresql >/dev/null; } || \
		echo "there is no PostgreSQL: its test will be skipped"

clean:
	rm -rf .transferflow data/digits-5k build dist *.egg-info
