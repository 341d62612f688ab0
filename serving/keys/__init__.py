"""The command `python -m serving.keys`: makes, lists and revokes the keys of a keys file."""
