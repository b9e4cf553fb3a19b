"""The vectors by which a network tells elements apart, and whether they know the periodic table."""
