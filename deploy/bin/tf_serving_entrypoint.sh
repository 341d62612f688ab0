#!/bin/sh
# What TensorFlow Serving's image starts: one model, named by variables, on the two usual ports.
# exec: the server gets the signals itself and drains.
exec /usr/bin/tensorflow_model_server --port=8500 --rest_api_port=8501 \
  --model_name="${MODEL_NAME:-model}" --model_base_path="${MODEL_BASE_PATH:-/models}/${MODEL_NAME:-model}" "$@"
