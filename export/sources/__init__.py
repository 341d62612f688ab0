"""What versions are made of: run folders of `python -m training`, and SavedModels on disk.

Reads and checks; a source that cannot be used is an ExportError with the way out. May import of
export the errors alone. training_run needs no TensorFlow.
"""
