"""Training and validation batches: random choices by a seed, augmentation, and feeds for Keras.

Every random choice depends only on (seed, epoch, image index). An image is therefore augmented the
same way for every batch size and number of workers, and after a training was resumed.
"""
