#!/bin/sh
# The image's entry point: serves all models in /models, or the model that MODEL_NAME names, on ports 8500 and 8501.
# The REST port's default is set in this script and not in the image's environment, because tensorflow_model_server, which
# reads the same environment, has no REST port by default.
export SERVING_REST_API_PORT="${SERVING_REST_API_PORT-8501}"
exec /opt/venv/bin/python -m serving "$@"
