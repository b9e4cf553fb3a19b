"""Structure of liquids: g(r), angles."""
