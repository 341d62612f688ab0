# The images of this repository. Each image is a target:
#   docker build --target serving-cpu -t onnx-serving:cpu .
#   docker build --target serving-cpu-tensorflow -t onnx-serving:cpu-tensorflow .
#   docker build --target loadtest -t onnx-serving:loadtest .
# BuildKit is not needed: there is no RUN --mount and no heredoc. Without BuildKit, Docker builds every stage that stands before
# the requested one. The stages are therefore ordered by how often their image is built: first serving-cpu and nothing that it
# does not need, then loadtest, and TensorFlow's 1.6 GB last. For networks without a registry or with their own certificates,
# see deploy/README.md.

# Any Debian-like image with Python 3.11 to 3.13 and its venv module. deploy/make-base-image.sh makes one without a registry.
ARG BASE_IMAGE=python:3.13-slim-bookworm

# ---- base: settings of all stages ----
FROM ${BASE_IMAGE} AS base
# PYTHONDONTWRITEBYTECODE: the final images are compiled in advance and run read-only, so Python must not write .pyc files.
# PYTHONUNBUFFERED: a log line is written at once and is not lost in a crash.
ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1

# ---- requirements: the requirements of each extra as a file ----
# In a separate stage, an edit of pyproject.toml that does not change an extra (a lint rule, for example) does not install
# the extra's libraries again.
FROM base AS requirements
WORKDIR /requirements
COPY pyproject.toml ./
RUN python3 -c 'import tomllib; p = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
[open(f"{extra}.txt", "w").write("\n".join(p["dependencies"] + p["optional-dependencies"][extra])) for extra in ("serve", "tensorflow", "loadtest")]'

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
COPY --from=requirements /requirements/serve.txt /opt/builder/
# --without-pip: the environment of the server needs no pip.
# --only-binary: there is no compiler here, so pip reports "no matching distribution" instead of failing during a build.
# find ... rm: removes files that are never imported: the libraries' tests, type stubs and C sources.
# unchecked-hash: Python uses the .pyc files without comparing time stamps, which image builders may rewrite.
RUN python3 -m venv --without-pip /opt/venv \
    && /opt/builder/pip-install.sh "the libraries of the extra serve (203 MB)" \
      --python /opt/venv/bin/python install --no-compile --only-binary :all: \
      -c /opt/builder/constraints.txt -r /opt/builder/serve.txt \
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
COPY --from=requirements /requirements/loadtest.txt /opt/builder/
RUN python3 -m venv --without-pip /opt/venv \
    && /opt/builder/pip-install.sh "the libraries of the extra loadtest (190 MB)" \
      --python /opt/venv/bin/python install --no-compile --only-binary :all: \
      -c /opt/builder/constraints.txt -r /opt/builder/loadtest.txt \
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

# ---- serving-cpu-tensorflow-venv: TensorFlow beside the libraries of the `serve` extra ----
# Files that are never imported are removed: headers and libraries for compilers, tests, type stubs.
FROM serving-cpu-venv AS serving-cpu-tensorflow-venv
COPY --from=requirements /requirements/tensorflow.txt /opt/builder/
RUN /opt/builder/pip-install.sh "the libraries of the extra tensorflow (1.6 GB; takes minutes)" \
      --python /opt/venv/bin/python install --no-compile --only-binary :all: \
      -c /opt/builder/constraints.txt -r /opt/builder/tensorflow.txt \
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
