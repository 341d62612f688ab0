"""The program `python -m serving.client`: its flags, its inputs, and the tables that it prints.

Commands call a server with `PredictClient`. May import the rest of `clients`.
"""
