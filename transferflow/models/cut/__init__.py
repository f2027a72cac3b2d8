"""A model cut where it begins to train: what runs before is a pure function of the image.

The prefix is every module that ends before anything trains, draws at random, or looks at the rest of the
batch. The suffix is the model itself, with the modules of the prefix played back: levels that a neck or a
decoder needs are recorded with the boundary, and what the model draws stays in step with the uncut one.
"""
