"""SavedModels that TensorFlow itself runs: the session, its signatures, what its graph holds.

The only folder of the server that imports TensorFlow, and imported only when a version needs it
(`engine.loading.graphs`): a server of ONNX models never loads it. May import `engine.runtime`,
`tensors` and `errors`. `session` is the export's too.
"""
