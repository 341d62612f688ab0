"""The model server and its client: TensorFlow Serving's API and KServe v2 on ONNX Runtime.

`__main__` runs `program`, which reads the settings and runs `server`, which connects models,
services and transport. `client` and `healthcheck` connect to a running server; the code of the
client is in `clients`. This package imports
none of the other packages, and TensorFlow only in `engine.saved_models`. A module imports only from
the lines below its own:

    __main__
    program
    server
    model_source, services
    workers, healthcheck
    client
    clients
    connection
    settings, protocols
    monitoring, inference
    engine
    repository
    transport, tensors
    errors, stage_times, protos, standard_streams
"""
