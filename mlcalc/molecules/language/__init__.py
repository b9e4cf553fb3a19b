"""A language model of molecules: SMILES to tokens, a Transformer encoder, pre-training on masked tokens, solubilities."""
