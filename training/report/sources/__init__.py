"""What a report is made from: run folders, data set, answers asked anew, published figures.

May import formats, and of training data, evaluation, model and settings. Knows nothing of pages.
"""
