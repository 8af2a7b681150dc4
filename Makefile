# The chores; each sets up what it needs. `make demo` first.
#   PYTHON=...       the Python to build .venv from (3.11 or 3.12; the first that runs is taken)
#   TORCH_INDEX=...  PyTorch's own index of CPU wheels, for a machine without a GPU whose pip would take the CUDA build
#   JOBS=2           processes of `make test`
#   SEED=...         of `make faults`: what chance broke once is broken again

# A version manager's shim may be on the PATH and still not run, so each is tried.
PYTHON ?= $(shell for p in python3.11 python3.12; do $$p -c 'import venv, ensurepip' 2>/dev/null && echo $$p && break; done)
TORCH_INDEX ?=
JOBS ?= 2
BIN := .venv/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
CODE := pipeline models losses cluster benchmarks tests
# What can be started and measures by itself: train_*.py make what is shipped, and the others want a run, a model, a folder.
BENCHMARKS ?= $(shell grep -l __main__ benchmarks/*.py | grep -Ev '/(train_.*|comparison|first_result|own_pictures|factors)[.]py' | sed 's/[.]py$$//; s|/|.|')

# What breaks things, or is broken: the quick part of it runs in `make test` too.
FAULTS ?= tests/faults tests/tracking tests/test_resume.py tests/test_sweep.py tests/pipeline/test_store.py \
  tests/pipeline/test_trainer.py tests/cluster/test_objects.py tests/test_s3.py tests/test_mirror.py \
  tests/test_launched.py tests/test_nodes.py tests/test_sweep_workers.py tests/test_sweep_retry.py \
  tests/test_double_start.py tests/cluster/test_workers.py tests/cluster/test_two_machines.py \
  tests/cluster/test_object_cache.py
ifndef SEED
SEED := $(shell od -An -N3 -tu4 /dev/urandom | tr -d ' ')
endif

.DEFAULT_GOAL := demo
.PHONY: demo test faults check bench clean
# A folder named by these would come before the packages of .venv.
unexport PYTHONPATH PYTHONHOME

demo: .venv/ready
	@$(BIN)/python -m pipeline.sweep configs/demo.yaml

test: export OMP_NUM_THREADS = 1
test: export MKL_NUM_THREADS = 1
test: .venv/ready
	@$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile

faults: export OMP_NUM_THREADS = 1
faults: export MKL_NUM_THREADS = 1
faults: export GRAFT_FAULTS_SEED = $(SEED)
faults: .venv/ready
	@echo "seed $(SEED); make faults SEED=$(SEED) breaks the same things again"
	@$(BIN)/python -m pytest -m "faults or not faults" $(FAULTS)

check: .venv/ready
	@$(BIN)/ruff format --check $(CODE)
	@$(BIN)/ruff check $(CODE)
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

bench: .venv/ready
	@for each in $(BENCHMARKS); do echo "== $$each"; $(BIN)/python -m $$each || exit; done

clean:
	@rm -rf .venv build *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
	@echo "Removed .venv and caches; runs/ and exports/ are yours and stay."

.venv/ready: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "error: no python3.11 or python3.12 that runs is on the PATH; install one (with its venv module), or name it: make PYTHON=/path/to/python" >&2; exit 5; }
	@echo "Setting up .venv with $(PYTHON): 2 to 5 minutes and about 2 GB the first time, seconds after that."
	@$(PYTHON) -m venv .venv
	@$(if $(TORCH_INDEX),$(PIP) install --no-deps --index-url $(TORCH_INDEX) $$(grep '^torch==' constraints.txt))
	@$(PIP) install -c constraints.txt -e '.[dev]'
	@touch $@
