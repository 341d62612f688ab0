# The images of this repository; each is a target:
#   docker build --target serving-cpu -t onnx-serving:cpu .
#   docker build --target serving-cpu-tensorflow -t onnx-serving:cpu-tensorflow .
#   docker build --target loadtest -t onnx-serving:loadtest .
# No BuildKit needed: no RUN --mount, no heredocs. Networks without a registry or with their own certificates: deploy/README.md.

# Anything Debian-like with Python 3.11 to 3.13 and its venv module; deploy/make-base-image.sh makes one without a registry.
ARG BASE_IMAGE=python:3.13-slim-bookworm

# ---- base: what every stage shares ----
FROM ${BASE_IMAGE} AS base
# The final images are compiled in advance and run read-only: Python must not try to write .pyc files.
# Unbuffered, so that a log line is out when it is written and not lost in a crash.
ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1

# ---- requirements: what an extra installs, as a list ----
# A stage of its own, so that an edit of pyproject.toml that leaves the extra alone (a lint rule, say) installs nothing again.
FROM base AS requirements
WORKDIR /requirements
COPY pyproject.toml ./
RUN python3 -c 'import tomllib; p = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
[open(f"{extra}.txt", "w").write("\n".join(p["dependencies"] + p["optional-dependencies"][extra])) for extra in ("serve", "tensorflow", "loadtest")]'

# ---- builder: pip, apart from the environments it fills ----
FROM base AS builder
RUN python3 -m venv /opt/builder
# Certificates of a network that re-signs TLS; the folder is empty unless you put some there. They go beside pip's own
# into this stage's pip settings, which no final image copies.
COPY deploy/ca-certificates /opt/builder/ca-certificates
RUN if ls /opt/builder/ca-certificates/*.crt >/dev/null 2>&1; then \
      cat "$(/opt/builder/bin/python -c 'from pip._vendor import certifi; print(certifi.where())')" \
        /opt/builder/ca-certificates/*.crt > /opt/builder/ca.pem \
      && /opt/builder/bin/pip config --quiet --site set global.cert /opt/builder/ca.pem; \
    fi
# pip reads these from its environment. They are this stage's arguments and leave no trace in a final image.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_FIND_LINKS
ARG PIP_TRUSTED_HOST
# The settings are named because `pip --python` runs with those of the environment it installs into.
ENV PIP_CONFIG_FILE=/opt/builder/pip.conf \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore
COPY constraints.txt /opt/builder/

# ---- serving-cpu-venv: the libraries of the `serve` extra ----
FROM builder AS serving-cpu-venv
COPY --from=requirements /requirements/serve.txt /opt/builder/
# --without-pip: the environment holds what serves and nothing that installs more.
# --only-binary: there is no compiler here, so let pip say "no matching distribution" instead of failing in the middle of a build.
# Then drop what is never imported: the libraries' own tests, type stubs and C sources.
# unchecked-hash: the .pyc files count as valid whatever the time stamps, which image builders may rewrite.
RUN python3 -m venv --without-pip /opt/venv \
    && /opt/builder/bin/pip --python /opt/venv/bin/python install --quiet --no-compile --only-binary :all: \
      -c /opt/builder/constraints.txt -r /opt/builder/serve.txt \
    && find /opt/venv/lib -depth \( -type d -name tests -o -name '*.py[ix]' -o -name '*.pxd' -o -name '*.[ach]' \) -exec rm -rf {} + \
    && /opt/venv/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/venv/lib

# ---- loadtest-venv: the libraries of the `loadtest` extra; see above ----
FROM builder AS loadtest-venv
COPY --from=requirements /requirements/loadtest.txt /opt/builder/
RUN python3 -m venv --without-pip /opt/venv \
    && /opt/builder/bin/pip --python /opt/venv/bin/python install --quiet --no-compile --only-binary :all: \
      -c /opt/builder/constraints.txt -r /opt/builder/loadtest.txt \
    && find /opt/venv/lib -depth \( -type d -name tests -o -name '*.py[ix]' -o -name '*.pxd' -o -name '*.[ach]' \) -exec rm -rf {} + \
    && /opt/venv/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/venv/lib

# ---- app: this project's code, with its metadata for importlib.metadata ----
FROM builder AS app
RUN /opt/builder/bin/pip install --quiet -c /opt/builder/constraints.txt setuptools
WORKDIR /build
# Every package of the checkout; .dockerignore keeps the rest of it out.
COPY . ./
RUN /opt/builder/bin/pip install --quiet --no-compile --no-deps --no-build-isolation --target /app . \
    && python3 -m compileall -q --invalidation-mode unchecked-hash /app \
    # /app/bin: commands that name this stage's Python. The rest: whatever the checkout's umask was, the containers may
    # run as any user.
    && rm -rf /app/bin && chmod -R a+rX /app && chmod 755 deploy/bin deploy/bin/*

# ---- serving-app, loadtest-app: what each image needs of it ----
FROM app AS serving-app
RUN rm -r /app/training /app/export /app/loadtest

# Of training the reader of the test images and the kit of pages, which need NumPy and Jinja2; of serving the client.
FROM app AS loadtest-app
RUN rm -r /app/export

# ---- serving: how a server runs, on whichever device ----
FROM base AS serving
# The official Python image comes with its standard library uncompiled; a read-only container would compile it at every start
# and every health check. (Debian's Python is compiled already, and compileall skips what is.)
RUN python3 -m compileall -q -x '/(dist-packages|ensurepip|idlelib|lib2to3|site-packages|test|tests|turtledemo)/' \
      "$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"
# The id is fixed and numeric: Kubernetes' runAsNonRoot asks for a number, and so does whoever owns a mounted folder.
RUN groupadd --gid 10001 serving \
    && useradd --uid 10001 --gid serving --no-log-init --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin serving
USER 10001:10001
# ORT_DISABLE_TELEMETRY: ONNX Runtime shall report to nobody, from the first import on.
# SERVING_*: variables and not flags in CMD, because flags given to `docker run IMAGE` replace CMD, and because
# a flag would beat the variables (SERVING_PORT, SERVING_DEVICE, ...) that the container is started with.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/app \
    ORT_DISABLE_TELEMETRY=1 \
    SERVING_MODELS_DIR=/models \
    SERVING_HEALTH_PORT=8502
WORKDIR /app
# 8500 gRPC, 8501 REST: TensorFlow Serving's ports. 8502: health, for probes alone; it answers while the others are flooded.
EXPOSE 8500 8501 8502
# The server drains on SIGTERM. Exec form below and `exec` in the script, so that it is process 1 and gets the signal.
STOPSIGNAL SIGTERM
# SERVING over gRPC means loaded and warmed up. Failures within the start period do not count, and the first success ends it:
# ten minutes cost nothing where loading takes seconds, and large models may need them.
HEALTHCHECK --interval=10s --timeout=5s --start-period=600s --retries=3 \
    CMD python -m serving.healthcheck
ENTRYPOINT ["/usr/bin/onnx_serving_entrypoint.sh"]

# ---- serving-cpu ----
FROM serving AS serving-cpu
# The libraries before the code: an edit of the code leaves their layer, nearly all of the image, as it is.
COPY --from=serving-cpu-venv /opt/venv /opt/venv
COPY --from=serving-app /app /app
# Also TensorFlow Serving's names of the server and of its image's entry point, for whoever starts those.
COPY --from=serving-app /build/deploy/bin/ /usr/bin/
# Last, so that a new version or commit touches no layer above.
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="onnx-serving (CPU)" \
      org.opencontainers.image.description="TensorFlow Serving's API on ONNX Runtime" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# ---- loadtest: the load generator, its matrix and its reports; no TensorFlow and no server of models ----
FROM base AS loadtest
# The same id as the server's; /results is where a named volume takes its owner from.
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
# Behind the other images: without BuildKit, every stage before the one asked for is built.
# Without what nobody imports: the headers and the compiler's library for whoever compiles against it, tests, type stubs.
FROM serving-cpu-venv AS serving-cpu-tensorflow-venv
COPY --from=requirements /requirements/tensorflow.txt /opt/builder/
RUN /opt/builder/bin/pip --python /opt/venv/bin/python install --quiet --no-compile --only-binary :all: \
      -c /opt/builder/constraints.txt -r /opt/builder/tensorflow.txt \
    && rm -rf /opt/venv/lib/python3*/site-packages/tensorflow/include /opt/venv/lib/python3*/site-packages/clang \
    && find /opt/venv/lib -depth \( -type d -name tests -o -name '*.py[ix]' \) -exec rm -rf {} + \
    && /opt/venv/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/venv/lib

# ---- serving-cpu-tensorflow: the same server, which also runs SavedModels by TensorFlow ----
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
