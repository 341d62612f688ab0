# The images of this repository. Each image is a target:
#   docker build --target serving-cpu -t onnx-serving:cpu .
#   docker build --target serving-cpu-storage -t onnx-serving:cpu-storage .
#   docker build --target serving-cpu-tensorflow -t onnx-serving:cpu-tensorflow .
#   docker build --target serving-gpu -t onnx-serving:gpu .
#   docker build --target loadtest -t onnx-serving:loadtest .
#   docker build --target training -t onnx-serving:training .
# BuildKit is not needed: there is no RUN --mount and no heredoc. Without BuildKit, Docker builds every stage that stands before
# the requested one. The stages are therefore ordered by how often their image is built and by its size: first serving-cpu and
# nothing that it does not need, then loadtest, the libraries of stores, TensorFlow's 1.6 GB, CUDA's 2.6 GB, and the training with both. For networks
# without a registry or with their own certificates, see deploy/README.md.

# Any Debian-like image with Python 3.11 to 3.13 and its venv module. deploy/make-base-image.sh makes one without a registry.
ARG BASE_IMAGE=python:3.13-slim-bookworm

# ---- base: settings of all stages ----
FROM ${BASE_IMAGE} AS base
# PYTHONDONTWRITEBYTECODE: the final images are compiled in advance and run read-only, so Python must not write .pyc files.
# PYTHONUNBUFFERED: a log line is written at once and is not lost in a crash.
ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1

# ---- builder: pip, outside the environments that it installs into ----
FROM base AS builder
RUN python3 -m venv /opt/builder
# Certificates of a network that re-signs TLS; the folder is empty unless you put some there. pip in this stage trusts them
# in addition to its own. No final image copies them.
COPY deploy/ca-certificates /opt/builder/ca-certificates
RUN if ls /opt/builder/ca-certificates/*.crt >/dev/null 2>&1; then \
      cat "$(/opt/builder/bin/python -c 'from pip._vendor import certifi; print(certifi.where())')" \
        /opt/builder/ca-certificates/*.crt > /opt/builder/ca.pem \
      && /opt/builder/bin/pip config --quiet --site set global.cert /opt/builder/ca.pem; \
    fi
# The settings of pip become its configuration file: without BuildKit, stages that are made from this one do not inherit its
# arguments. Neither the arguments nor the file appear in a final image.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_FIND_LINKS
ARG PIP_TRUSTED_HOST
RUN for name in INDEX_URL EXTRA_INDEX_URL FIND_LINKS TRUSTED_HOST; do \
      value=$(printenv "PIP_$name") && [ -n "$value" ] || continue; \
      /opt/builder/bin/pip config --quiet --site set "global.$(echo "$name" | tr A-Z_ a-z-)" "$value" || exit 1; \
    done
# PIP_CONFIG_FILE is set because `pip --python` would read the settings of the environment that it installs into.
ENV PIP_CONFIG_FILE=/opt/builder/pip.conf \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore
COPY constraints.txt deploy/pip-install.sh /opt/builder/

# ---- serving-cpu-venv: the libraries of the `serve` extra ----
FROM builder AS serving-cpu-venv
COPY deploy/requirements/serving-cpu.txt /opt/builder/
# --without-pip: the environment of the server needs no pip.
# --require-hashes: pip takes only the files whose hashes `make hashes` wrote; that list is whole, hence --no-deps.
# --only-binary: there is no compiler here, so pip reports "no matching distribution" instead of failing during a build.
# find ... rm: removes files that are never imported: the libraries' tests, type stubs and C sources.
# unchecked-hash: Python uses the .pyc files without comparing time stamps, which image builders may rewrite.
RUN python3 -m venv --without-pip /opt/venv \
    && /opt/builder/pip-install.sh "the libraries of the extra serve (203 MB)" \
      --python /opt/venv/bin/python install --no-compile --no-deps --require-hashes --only-binary :all: \
      -r /opt/builder/serving-cpu.txt \
    && find /opt/venv/lib -depth \( -type d -name tests -o -name '*.py[ix]' -o -name '*.pxd' -o -name '*.[ach]' \) -exec rm -rf {} + \
    && /opt/venv/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/venv/lib

# ---- app: this project's code, with its metadata for importlib.metadata ----
FROM builder AS app
RUN /opt/builder/pip-install.sh setuptools install -c /opt/builder/constraints.txt setuptools
WORKDIR /build
# Every package of the checkout; .dockerignore excludes everything else.
COPY . ./
RUN /opt/builder/bin/pip install --quiet --no-compile --no-deps --no-build-isolation --target /app . \
    && python3 -m compileall -q --invalidation-mode unchecked-hash /app \
    # /app/bin holds commands that name this stage's Python. chmod: the containers may run as any user, and the checkout's
    # umask may have removed the permissions of others.
    && rm -rf /app/bin && chmod -R a+rX /app && chmod 755 deploy/bin deploy/bin/*

# ---- serving-app: the packages that the server needs ----
FROM app AS serving-app
RUN rm -r /app/training /app/export /app/loadtest

# ---- serving: settings of a server, the same for all devices ----
FROM base AS serving
# The official Python image has an uncompiled standard library, which a read-only container would compile at every start and
# every health check. (Debian's Python is compiled, and compileall skips compiled files.)
RUN python3 -m compileall -q -x '/(dist-packages|ensurepip|idlelib|lib2to3|site-packages|test|tests|turtledemo)/' \
      "$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"
# The user id is fixed and numeric: Kubernetes' runAsNonRoot requires a number, and owners of mounted folders need to know it.
RUN groupadd --gid 10001 serving \
    && useradd --uid 10001 --gid serving --no-log-init --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin serving
USER 10001:10001
# ORT_DISABLE_TELEMETRY: disables ONNX Runtime's telemetry from the first import on.
# SERVING_*: these are variables and not flags in CMD for two reasons. Flags given to `docker run IMAGE` replace CMD, and
# a flag would override the variables (SERVING_PORT, SERVING_DEVICE, ...) that the container is started with.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/app \
    ORT_DISABLE_TELEMETRY=1 \
    SERVING_MODELS_DIR=/models \
    SERVING_HEALTH_PORT=8502
WORKDIR /app
# 8500 (gRPC) and 8501 (REST) are TensorFlow Serving's ports. 8502 is for health probes; it answers even if the others are
# overloaded.
EXPOSE 8500 8501 8502
# The server drains on SIGTERM. ENTRYPOINT uses the exec form and the script uses `exec`, so the server is process 1 and gets
# the signal.
STOPSIGNAL SIGTERM
# The check asks over gRPC. SERVING means that the models are loaded and warmed up. Failures within the start period do not
# count, and the first success ends the period. Large models may need ten minutes; small models do not wait for its end.
HEALTHCHECK --interval=10s --timeout=5s --start-period=600s --retries=3 \
    CMD python -m serving.healthcheck
ENTRYPOINT ["/usr/bin/onnx_serving_entrypoint.sh"]

# ---- serving-cpu ----
FROM serving AS serving-cpu
# The libraries come before the code: after an edit of the code their layer, nearly all of the image, stays cached.
COPY --from=serving-cpu-venv /opt/venv /opt/venv
COPY --from=serving-app /app /app
# The entry point, and TensorFlow Serving's names of the server and of its image's entry point, for callers that start those.
COPY --from=serving-app /build/deploy/bin/ /usr/bin/
# The labels come last, so that a new version or commit keeps the layers above.
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="onnx-serving (CPU)" \
      org.opencontainers.image.description="TensorFlow Serving's API on ONNX Runtime" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# ---- loadtest-venv: the libraries of the `loadtest` extra; see serving-cpu-venv ----
FROM builder AS loadtest-venv
COPY deploy/requirements/loadtest.txt /opt/builder/
RUN python3 -m venv --without-pip /opt/venv \
    && /opt/builder/pip-install.sh "the libraries of the extra loadtest (190 MB)" \
      --python /opt/venv/bin/python install --no-compile --no-deps --require-hashes --only-binary :all: \
      -r /opt/builder/loadtest.txt \
    && find /opt/venv/lib -depth \( -type d -name tests -o -name '*.py[ix]' -o -name '*.pxd' -o -name '*.[ach]' \) -exec rm -rf {} + \
    && /opt/venv/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/venv/lib

# ---- loadtest-app: the packages that the load test needs ----
# It needs from training the reader of the test images (with NumPy only) and the kit of pages (with Jinja2 only), and from
# serving the client.
FROM app AS loadtest-app
RUN rm -r /app/export

# ---- loadtest: the load generator, its matrix and its reports; no TensorFlow and no server of models ----
FROM base AS loadtest
# The user id is the server's. A named volume mounted at /results gets the owner of this folder.
RUN groupadd --gid 10001 loadtest \
    && useradd --uid 10001 --gid loadtest --no-log-init --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin loadtest \
    && install --directory --owner=loadtest --group=loadtest /results
USER 10001:10001
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/app \
    CIFAR10_DIR=/data
WORKDIR /app
ENTRYPOINT ["python", "-m", "loadtest"]
CMD ["--help"]
COPY --from=loadtest-venv /opt/venv /opt/venv
COPY --from=loadtest-app /app /app
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="onnx-serving (load test)" \
      org.opencontainers.image.description="Latency and accuracy of the same answers" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# ---- serving-cpu-storage-venv: the libraries of the stores beside those of the `serve` extra ----
FROM serving-cpu-venv AS serving-cpu-storage-venv
COPY deploy/requirements/serving-cpu-storage.txt /opt/builder/
RUN /opt/builder/pip-install.sh "the libraries of the extras s3, gcs, azure, huggingface and http (100 MB)" \
      --python /opt/venv/bin/python install --no-compile --no-deps --require-hashes --only-binary :all: \
      -r /opt/builder/serving-cpu-storage.txt \
    && mkdir /cache \
    && find /opt/venv/lib -depth \( -type d -name tests -o -name '*.py[ix]' \) -exec rm -rf {} + \
    && /opt/venv/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/venv/lib

# ---- serving-cpu-storage: the same server, which also takes models from stores ----
FROM serving AS serving-cpu-storage
# The cache of fetched versions; a named volume that is mounted there gets the owner of this folder.
COPY --from=serving-cpu-storage-venv --chown=10001:10001 /cache /cache
ENV SERVING_STORAGE_CACHE_DIR=/cache
COPY --from=serving-cpu-storage-venv /opt/venv /opt/venv
COPY --from=serving-app /app /app
COPY --from=serving-app /build/deploy/bin/ /usr/bin/
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="onnx-serving (CPU, with storage)" \
      org.opencontainers.image.description="TensorFlow Serving's API on ONNX Runtime, with models from stores" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# ---- serving-cpu-tensorflow-venv: TensorFlow beside the libraries of the `serve` extra ----
# Files that are never imported are removed: headers and libraries for compilers, tests, type stubs.
FROM serving-cpu-venv AS serving-cpu-tensorflow-venv
COPY deploy/requirements/serving-cpu-tensorflow.txt /opt/builder/
RUN /opt/builder/pip-install.sh "the libraries of the extra tensorflow (1.6 GB; takes minutes)" \
      --python /opt/venv/bin/python install --no-compile --no-deps --require-hashes --only-binary :all: \
      -r /opt/builder/serving-cpu-tensorflow.txt \
    && rm -rf /opt/venv/lib/python3*/site-packages/tensorflow/include /opt/venv/lib/python3*/site-packages/clang \
    && find /opt/venv/lib -depth \( -type d -name tests -o -name '*.py[ix]' \) -exec rm -rf {} + \
    && /opt/venv/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/venv/lib

# ---- serving-cpu-tensorflow: the same server, which also runs SavedModels with TensorFlow ----
FROM serving AS serving-cpu-tensorflow
COPY --from=serving-cpu-tensorflow-venv /opt/venv /opt/venv
COPY --from=serving-app /app /app
COPY --from=serving-app /build/deploy/bin/ /usr/bin/
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="onnx-serving (CPU, with TensorFlow)" \
      org.opencontainers.image.description="TensorFlow Serving's API on ONNX Runtime and TensorFlow" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# ---- serving-gpu-venv: the libraries of the `serve-gpu` extra; see serving-cpu-venv ----
FROM builder AS serving-gpu-venv
COPY deploy/requirements/serving-gpu.txt /opt/builder/
# rm: files that neither ONNX Runtime's CUDA provider nor cuDNN loads; deploy/README.md says how this was checked.
#   include            headers, for compilers
#   libnvblas          takes the place of a BLAS library under LD_PRELOAD
#   libcufftw          FFTW's interface to cuFFT; the provider calls cuFFT itself
#   libcudnn_ext       causal convolutions and graph networks; cuDNN opens it when one of its functions is called
#   providers_tensorrt the TensorRT provider, which the server never requests; TensorRT is not in the image
#   libonnxruntime.so  the C library for C programs; the Python module has ONNX Runtime linked in
# No -f: if a file has another name in a new version, the build fails and this list is read again.
# mv: the CUDA libraries become layers of their own. ONNX Runtime looks for them in nvidia/ beside its own folder.
RUN python3 -m venv --without-pip /opt/venv \
    && /opt/builder/pip-install.sh "the libraries of the extra serve-gpu (2.6 GB; takes minutes)" \
      --python /opt/venv/bin/python install --no-compile --no-deps --require-hashes --only-binary :all: \
      -r /opt/builder/serving-gpu.txt \
    && find /opt/venv/lib -depth \( -type d -name tests -o -name '*.py[ix]' -o -name '*.pxd' -o -name '*.[ach]' \) -exec rm -rf {} + \
    && cd /opt/venv/lib/python3*/site-packages \
    && rm -r nvidia/cu13/include nvidia/cudnn/include \
      nvidia/cu13/lib/libnvblas.so.* nvidia/cu13/lib/libcufftw.so.* nvidia/cudnn/lib/libcudnn_ext.so.* \
      onnxruntime/capi/libonnxruntime_providers_tensorrt.so onnxruntime/capi/libonnxruntime.so.* \
    && mv nvidia /opt/nvidia && ln -s /opt/nvidia nvidia \
    && /opt/venv/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/venv/lib

# ---- serving-gpu: the same server with CUDA 13; without a GPU it serves on the CPU ----
FROM serving AS serving-gpu
# For NVIDIA's container runtime: all GPUs that the container is started with, and of the driver's libraries those of CUDA and
# nvidia-smi.
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
# Layers in the order in which they change least often. Two for NVIDIA's libraries, because layers are pulled in parallel.
COPY --from=serving-gpu-venv /opt/nvidia/cu13 /opt/nvidia/cu13
COPY --from=serving-gpu-venv /opt/nvidia/cudnn /opt/nvidia/cudnn
COPY --from=serving-gpu-venv /opt/venv /opt/venv
COPY --from=serving-app /app /app
COPY --from=serving-app /build/deploy/bin/ /usr/bin/
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="onnx-serving (GPU)" \
      org.opencontainers.image.description="TensorFlow Serving's API on ONNX Runtime with CUDA 13" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# ---- training-venv: the libraries of the `train-jax` extra: Keras, and JAX with CUDA 13; see serving-gpu-venv ----
FROM builder AS training-venv
COPY deploy/requirements/training.txt /opt/builder/
RUN python3 -m venv --without-pip /opt/venv \
    && /opt/builder/pip-install.sh "the libraries of the extra train-jax (4.7 GB; takes minutes)" \
      --python /opt/venv/bin/python install --no-compile --no-deps --require-hashes --only-binary :all: \
      -r /opt/builder/training.txt \
    && find /opt/venv/lib -depth \( -type d -name tests -o -name '*.py[ix]' -o -name '*.pxd' -o -name '*.[ach]' \) -exec rm -rf {} + \
    && cd /opt/venv/lib/python3*/site-packages \
    && mkdir -p nvidia && rm -rf nvidia/*/include \
    && mv nvidia /opt/nvidia && ln -s /opt/nvidia nvidia \
    && /opt/venv/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/venv/lib

# ---- training-export-venv: the libraries of the `export` extra, with TensorFlow on the CPU ----
FROM builder AS training-export-venv
COPY deploy/requirements/training-export.txt /opt/builder/
RUN python3 -m venv --without-pip /opt/export \
    && /opt/builder/pip-install.sh "the libraries of the extra export (1.8 GB; takes minutes)" \
      --python /opt/export/bin/python install --no-compile --no-deps --require-hashes --only-binary :all: \
      -r /opt/builder/training-export.txt \
    && rm -rf /opt/export/lib/python3*/site-packages/tensorflow/include /opt/export/lib/python3*/site-packages/clang \
    && find /opt/export/lib -depth \( -type d -name tests -o -name '*.py[ix]' \) -exec rm -rf {} + \
    && /opt/export/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/export/lib

# ---- training-app: training and export, and what export needs of serving ----
FROM app AS training-app
RUN rm -r /app/loadtest

# ---- training: trains a model, exports it and publishes it into /models ----
# Two environments: the training needs JAX with CUDA, the export TensorFlow. TensorFlow is not in the training's environment,
# because Keras would import it at every start.
FROM base AS training
# The user id is the server's. Every user can write to /runs, and so to a named volume that is mounted there: TRAINING_USER is
# often the owner of the models' folder.
RUN groupadd --gid 10001 training \
    && useradd --uid 10001 --gid training --no-log-init --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin training \
    && install --directory --mode=1777 /runs
USER 10001:10001
# PYTHONSAFEPATH: Python does not import modules from the run folders.
# ORT_DISABLE_TELEMETRY: as in the server; the export's gates run ONNX Runtime.
# *_HOME, *_DIR: folders that the libraries write to. Downloads and compiled steps stay in the volume for the next run.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONSAFEPATH=1 \
    ORT_DISABLE_TELEMETRY=1 \
    KERAS_BACKEND=jax \
    KERAS_HOME=/runs/.cache/keras \
    JAX_COMPILATION_CACHE_DIR=/runs/.cache/jax \
    MPLCONFIGDIR=/tmp/matplotlib \
    CIFAR10_DIR=/data \
    MODELS_DIR=/models \
    EXPORT_PYTHON=/opt/export/bin/python \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
WORKDIR /runs
# A training that gets SIGINT ends after the current step; the same command resumes it.
STOPSIGNAL SIGINT
ENTRYPOINT ["python", "/opt/train_and_publish.py"]
CMD ["--help"]
COPY --from=training-export-venv /opt/export /opt/export
COPY --from=training-venv /opt/nvidia /opt/nvidia
COPY --from=training-venv /opt/venv /opt/venv
COPY --from=training-app /app /app
COPY --from=training-app /build/deploy/train_and_publish.py /opt/
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="onnx-serving (training)" \
      org.opencontainers.image.description="Trains Keras models on CIFAR-10 and publishes them for the server" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
