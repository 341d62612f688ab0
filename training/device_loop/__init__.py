"""The training loop on a device, with JAX: data, augmentation and whole epochs in one program.

May import model, batches, settings and data. Only this folder and the choice of devices import JAX;
`training.run` imports this folder when a training uses it.
"""
