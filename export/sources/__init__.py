"""Sources of versions: run folders of `python -m training`, SavedModels and ONNX files on disk.

Reads and checks them. A source that cannot be used raises ExportError with the way out. May import
the errors of export and no other folder of it. training_run needs no TensorFlow.
"""
