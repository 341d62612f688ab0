#!/bin/sh
# The entry point of TensorFlow Serving's image: serves one model, named by variables, on ports 8500 and 8501.
# exec: the server receives the signals itself and drains.
exec /usr/bin/tensorflow_model_server --port=8500 --rest_api_port=8501 \
  --model_name="${MODEL_NAME:-model}" --model_base_path="${MODEL_BASE_PATH:-/models}/${MODEL_NAME:-model}" "$@"
