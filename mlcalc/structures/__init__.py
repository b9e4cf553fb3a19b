"""What files say of structures: elements, positions, labels, units, charge and spin."""
