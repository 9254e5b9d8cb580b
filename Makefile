# OADG. Every target installs by itself what it lacks, says what it does, and is quick the second time.
#
#   TORCH_INDEX   an index of PyTorch builds, in addition to pip's own, e.g. https://download.pytorch.org/whl/cpu
#   PYTEST_ARGS   more arguments for pytest, e.g. "-m slow"
#   START         a model file that train-universal starts from, instead of random weights
#   EVALUATE_ARGS more arguments for evaluate-universal, e.g. "--quick" or "--model FILE --output FOLDER"
#   IMAGE         a training image: for MODEL=channels the picture of 2500 x 2500 cells, for MODEL=delta its array
#                 for bench-peers and bench-sizes any training image (raster or .npy), MODEL=path being a model of its first part
#   JURA_MAP      the Jura survey's map, a table (CSV) with the columns long, lat and rock, to be scored as well
#   PEERS_ARGS    more arguments for bench-peers, e.g. "--quick", or for bench-sizes, e.g. "--sizes 250:40"
#   NAME          for train: what the model of IMAGE is to be called; IMAGE may also be "channels" or "digits"
#   TRAIN_ARGS    more arguments for train, e.g. "--minutes 90 --device cuda --track tensorboard"; --help tells them all
#                 or for train-universal, on a graphics card e.g. "--workers 15 --maps-times 20 --uses 2 --steps 5000"
#   MODEL_FILE, REPOSITORY  for publish: the model file, and where it goes (USER/NAME); HF_TOKEN says who you are
#   PUBLISH_ARGS  more arguments for publish, e.g. --private

# A recipe is a script: it runs in one shell, which stops at the first failure.
.ONESHELL:
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help system env demo test check bench peers bench-peers bench-sizes package train train-universal train-shipped evaluate-universal publish clean

# numpy's matrices are small here, and its threads wait for each other on a busy machine; PyTorch has threads of its own.
export OPENBLAS_NUM_THREADS ?= 1

TORCH_INDEX ?=
PYTEST_ARGS ?=
START ?=
EVALUATE_ARGS ?=
JURA_MAP ?=
IMAGE ?=
MODEL ?=
PEERS_ARGS ?=
NAME ?=
TRAIN_ARGS ?=
MODEL_FILE ?=
REPOSITORY ?=
PUBLISH_ARGS ?=

# QGIS's own modules belong to the distribution's Python, so the environment is made from that one, whatever comes
# first on PATH.
SYSTEM_PYTHON := /usr/bin/python3
DEBIAN_PACKAGES := qgis python3-qgis python3-gdal python3-venv xvfb xauth git ca-certificates
VENV := .venv
PYTHON := $(VENV)/bin/python
PEERS_VENV := .venv-peers
ZIP := dist/oadg.zip

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 28

system: ## Install QGIS and what else is missing of the distribution's packages (Debian, Ubuntu)
	@missing=""
	for package in $(DEBIAN_PACKAGES); do
		dpkg-query --show --showformat='$${db:Status-Status}\n' $$package 2>/dev/null | grep -qx installed \
			|| missing="$$missing $$package"
	done
	[ -n "$$missing" ] || exit 0
	command -v apt-get >/dev/null || { echo "Missing:$$missing. This system has no apt-get: install them by hand."; exit 1; }
	sudo=""; [ "$$(id -u)" = 0 ] || sudo=sudo
	echo "==> Installing the distribution's packages (QGIS is some 500 MB):$$missing"
	$$sudo apt-get update -qq
	$$sudo env DEBIAN_FRONTEND=noninteractive apt-get install --yes -qq --no-install-recommends $$missing >/dev/null

env: $(VENV)/.ready ## Make .venv: the engine (PyTorch) and the developers' tools, beside QGIS's own modules

$(VENV)/.ready: pyproject.toml resources/engine-requirements.txt | system
	@echo "==> Making $(VENV): Python with QGIS's modules, PyTorch and the developers' tools"
	$(SYSTEM_PYTHON) -m venv --system-site-packages $(VENV)
	# The distribution's GDAL was built for the distribution's numpy: pip may not put another one in front of it.
	$(SYSTEM_PYTHON) -c 'import numpy; print(f"numpy=={numpy.__version__}")' > $(VENV)/constraints.txt
	$(PYTHON) -m pip install --constraint $(VENV)/constraints.txt \
		$(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) --editable '.[dev]'
	$(PYTHON) -c 'import qgis.core, osgeo.gdal, torch; print("==> torch", torch.__version__, "beside QGIS", qgis.core.Qgis.QGIS_VERSION)'
	touch $@

demo: env package ## Run the main job headless in a private QGIS profile; results and a picture in build/demo
	@echo "==> Simulating the rock types of the Swiss Jura in build/demo"
	$(PYTHON) resources/examples/demo.py --plugin $(ZIP) --output build/demo

test: env ## Run the tests
	nice $(PYTHON) -m pytest $(PYTEST_ARGS)

check: env ## Lint, check types, the direction of imports, and security
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	mkdir -p .links && ln -sfn .. .links/oadg
	$(PYTHON) -m mypy
	$(PYTHON) -m pytest -q tests/test_package/test_imports.py
	$(PYTHON) -m bandit --quiet --recursive --configfile pyproject.toml --severity-level high .

bench: env ## Measure speed, memory and what else benchmarks/*.py does
	@for benchmark in $(shell grep -ls '^if __name__' benchmarks/*.py); do
		echo "==> $$benchmark"
		$(PYTHON) -m "$$(tr / . <<< "$${benchmark%.py}")"
	done

peers: $(PEERS_VENV)/.ready ## Make .venv-peers: other programs' packages, which ask for another numpy than QGIS has

$(PEERS_VENV)/.ready: benchmarks/peers/requirements.txt | system
	@echo "==> Making $(PEERS_VENV): what the model is compared with"
	$(SYSTEM_PYTHON) -m venv $(PEERS_VENV)
	$(PEERS_VENV)/bin/python -m pip install $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) --requirement $<
	touch $@

bench-peers: env peers ## Compare a model of a training image with its peers: IMAGE=path MODEL=path (three hours)
	@[ -n "$(IMAGE)" ] && [ -n "$(MODEL)" ] || { echo "Say which: make bench-peers IMAGE=path MODEL=path"; exit 1; }
	nice $(PYTHON) -m benchmarks.against_peers --image "$(IMAGE)" --model "$(MODEL)" \
		--peers-python $(PEERS_VENV)/bin/python $(PEERS_ARGS)

bench-sizes: env ## Compare a model of a training image with crops of it, by grid size: IMAGE=path MODEL=path (10 minutes)
	@[ -n "$(IMAGE)" ] && [ -n "$(MODEL)" ] || { echo "Say which: make bench-sizes IMAGE=path MODEL=path"; exit 1; }
	nice $(PYTHON) -m benchmarks.against_peers.by_size --image "$(IMAGE)" --model "$(MODEL)" $(PEERS_ARGS)

package: ## Build dist/oadg.zip, the plugin that QGIS installs, from the last commit
	@mkdir -p $(dir $(ZIP))
	git archive --format=zip --prefix=oadg/ --output=$(ZIP) HEAD
	[ -z "$$(git status --porcelain)" ] || echo "==> Note: $(ZIP) holds the last commit, without what is not committed yet."
	echo "==> $(ZIP): $$(du -k $(ZIP) | cut -f1) KB"

train: env ## Train a model on an image or on digits: IMAGE=path NAME=name (resumable; 45 minutes, or as TRAIN_ARGS say)
	@[ -n "$(IMAGE)" ] && [ -n "$(NAME)" ] || { echo "Say which: make train IMAGE=path NAME=name"; exit 1; }
	$(PYTHON) resources/recipes/train_model.py "$(IMAGE)" "$(NAME)" $(TRAIN_ARGS)

train-universal: env ## Train the universal model (seeded, resumable; hours)
	$(PYTHON) -m oadg.core.training.train_universal $(if $(START),--start $(START)) $(TRAIN_ARGS)

train-shipped: env ## Train a shipped model of a training image: MODEL=channels or delta, IMAGE=... (seeded, resumable; an hour and a half)
	$(PYTHON) resources/recipes/shipped_models.py "$(MODEL)" "$(IMAGE)"

evaluate-universal: env ## Measure the universal model against kriging on surveys it never saw (15 minutes)
	nice $(PYTHON) -m benchmarks.evaluate_universal $(if $(JURA_MAP),--map "$(JURA_MAP)") $(EVALUATE_ARGS)

publish: env ## Upload a model with its card to the Hugging Face hub: MODEL_FILE=... REPOSITORY=USER/NAME
	@[ -n "$(MODEL_FILE)" ] && [ -n "$(REPOSITORY)" ] || { echo "Say which: make publish MODEL_FILE=path REPOSITORY=USER/NAME"; exit 1; }
	$(PYTHON) -m oadg.core.hub publish "$(MODEL_FILE)" "$(REPOSITORY)" $(PUBLISH_ARGS)

clean: ## Remove what was built (not .venv)
	rm -rf build dist .links .qgis-settings .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
