"""Terms of physics that lie under a network."""
