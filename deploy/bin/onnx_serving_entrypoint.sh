#!/bin/sh
# What this image starts: all models in /models, or the one that MODEL_NAME names, on the two usual ports.
# A default in the script and not in the image's environment, which whoever starts tensorflow_model_server gets, too.
export SERVING_REST_API_PORT="${SERVING_REST_API_PORT-8501}"
exec /opt/venv/bin/python -m serving "$@"
