"""The model server and its client: TensorFlow Serving's API and KServe v2 on ONNX Runtime.

`__main__` reads the settings and runs `server`, which puts models, services and transport together.
`client` and `healthcheck` talk to a server from outside. This package imports none of the other
packages and no TensorFlow. Its folders import downwards alone, in this order:

    __main__, server
    model_source, services
    workers, healthcheck
    client
    settings, protocols
    monitoring, inference
    engine
    repository
    transport, tensors
    errors, stage_times, protos
"""
