# The server's image with models in it; the build's folder is that of the models:
#   docker build -f deploy/swarm/models.Dockerfile -t registry.example.com/classifier:1 models
# Versions of the models share all layers but the last.
ARG SERVING_IMAGE=onnx-serving:cpu
FROM ${SERVING_IMAGE}
COPY --chown=10001:10001 . /models
