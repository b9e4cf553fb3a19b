"""Molecular graph convolution: atoms and pairs with chemical features, to one number of a molecule.

The flow: a geometry and its SMILES become features (features.py), many of them a data set of flat arrays (dataset.py), on which a
weave network (weave.py) is trained (training.py), alone or behind an autoencoder of the features (autoencoder.py).
"""
