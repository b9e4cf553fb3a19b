"""What the compiled kernels of architectures share: pairs, filter tables, vectors, activations, the potential around them."""
