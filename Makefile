# Two commands matter: `make demo` and `make test`. Both make .venv from nothing when it is missing.
PYTHON ?= python3
ifeq ($(OS),Windows_NT)
BIN := .venv/Scripts
LOWEST := .venv-lowest/Scripts
LOCKED := .venv-locked/Scripts
STUDIO := .venv-label-studio/Scripts
else
BIN := .venv/bin
LOWEST := .venv-lowest/bin
LOCKED := .venv-locked/bin
STUDIO := .venv-label-studio/bin
endif

# Compiled modules are kept even where the environment says otherwise: demo and tests start many processes, and each would
# compile torch again.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo docs test lint types imports kernels tests long soak families lowest lock locked peers engines geo label-studio clean

.venv/installed: pyproject.toml
	$(PYTHON) -c "import sys; sys.exit('wsl-toolkit needs Python >= 3.11; found %d.%d. Try: make PYTHON=python3.11' % sys.version_info[:2] if sys.version_info < (3, 11) else 0)"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --editable ".[dev]"
	$(BIN)/python -c "import pathlib; pathlib.Path('.venv/installed').touch()"

demo: .venv/installed
	$(BIN)/python demo/digits.py

# The API reference and llms.txt, in build/docs.
docs: .venv/installed
	$(BIN)/python -m pip install --quiet "pdoc>=15"
	$(BIN)/python tests/docs/reference.py build/docs

# Side by side, because each keeps one core busy.
test: .venv/installed
	$(MAKE) --jobs=2 lint types imports kernels
	$(MAKE) tests

# Compiles the numba functions of most tests, so that the test processes do not all do it at once. Their cache stays.
kernels: export OMP_NUM_THREADS := 1
kernels: .venv/installed
	$(BIN)/pytest --quiet wsl/maps wsl/metrics

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/installed
	$(BIN)/mypy

imports: .venv/installed
	$(BIN)/lint-imports --no-cache

# One core a test process: threads of several would wait for each other.
tests: export OMP_NUM_THREADS := 1
tests: .venv/installed
	$(BIN)/pytest -n auto --dist worksteal

# Damaged files, kills, full disks, what goes on around a command, and memory over a long run: half an hour to an hour. N=1000000 for a million damaged files.
soak: export OMP_NUM_THREADS := 1
soak: .venv/installed
	$(BIN)/python tests/soak/fuzz.py $(or $(N),50000) --seed $(or $(SEED),0)
	$(BIN)/python tests/soak/kills.py $(or $(KILLS),500) --seed $(or $(SEED),0)
	$(BIN)/python tests/soak/disk.py
	$(BIN)/python tests/soak/surroundings.py --seed $(or $(SEED),0)
	$(BIN)/python tests/soak/memory.py

# Networks of up to some gigabytes: one at a time.
families: export OMP_NUM_THREADS := 1
families: .venv/installed
	$(BIN)/pytest -m families tests/models/test_families.py

# What `make test` shows at a small size: larger networks, trainings in full, more processes, more moments at which a
# training is killed, more examples of each property.
long: export OMP_NUM_THREADS := 1
long: export HYPOTHESIS_PROFILE := thorough
long: .venv/installed
	$(BIN)/pytest -m "long or hypothesis"

# The libraries whose CAM methods are compared with ours. grad-cam asks for opencv-python-headless, which would overwrite cv2.
peers: .venv/installed
	$(BIN)/python -m pip install --quiet captum torchcam ttach scikit-learn tqdm
	$(BIN)/python -m pip install --quiet --no-deps grad-cam
	$(BIN)/pytest tests/cam/test_peers.py

# Ray with two actors, and an S3 server of moto's on loopback (5.2.1 completes uploads with an answer that is not S3's).
engines: export OMP_NUM_THREADS := 1
engines: .venv/installed
	$(BIN)/python -m pip install --quiet "ray[data]" "moto[server]!=5.2.1" boto3
	$(BIN)/pytest tests/inference/test_engines_side_by_side.py

# GeoTIFFs, by GDAL, which rasterio's 36 MB bring along.
geo: export OMP_NUM_THREADS := 1
geo: .venv/installed
	$(BIN)/python -m pip install --quiet "rasterio>=1.4"
	$(BIN)/pytest tests/verbs/test_geotiff.py

# Predictions, a correction and its export with a real Label Studio, in an environment of its own.
label-studio: export OMP_NUM_THREADS := 1
label-studio: .venv/installed
	$(PYTHON) -m venv .venv-label-studio
	$(STUDIO)/python -m pip install --quiet label-studio
	WSL_LABEL_STUDIO=$(STUDIO)/label-studio $(BIN)/pytest tests/labelling/test_loop.py

# The tests with the lowest versions that pyproject.toml allows, whose own warnings are no errors.
lowest: export OMP_NUM_THREADS := 1
lowest:
	$(PYTHON) -m venv .venv-lowest
	$(LOWEST)/python -m pip install --quiet --requirement tests/lowest.txt --editable . build hatchling hypothesis pytest pytest-xdist
	$(LOWEST)/pytest -n auto --dist worksteal -o filterwarnings=default --disable-warnings

# The versions and hashes of everything that the tests need, from the ranges of pyproject.toml; asks the package index.
lock: .venv/installed
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --quiet --extra dev --universal --python-version 3.11 --generate-hashes --no-header --output-file tests/locked.txt

# The tests with exactly these.
locked: export OMP_NUM_THREADS := 1
locked:
	$(PYTHON) -m venv .venv-locked
	$(LOCKED)/python -m pip install --quiet --require-hashes --requirement tests/locked.txt
	$(LOCKED)/python -m pip install --quiet --no-deps --no-build-isolation .
	$(LOCKED)/pytest -n auto --dist worksteal

clean:
	$(PYTHON) -c "import shutil; [shutil.rmtree(p, ignore_errors=True) for p in ('.venv', '.venv-lowest', '.venv-locked', '.venv-label-studio', 'build', 'dist', 'demo/out')]"
