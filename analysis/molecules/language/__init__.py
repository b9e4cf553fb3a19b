"""Which atoms of a SMILES string a predicted solubility comes from, and which way of asking deserves trust."""
