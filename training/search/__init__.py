"""The search for the settings of a recipe: trials, each a training in a process of its own.

May import run and settings. Only the modules study and outcomes import Optuna, and only
trial_process imports Keras; the command loads neither before its arguments and data are checked.
"""
