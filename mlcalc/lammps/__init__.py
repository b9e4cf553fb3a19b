"""SchNet, PaiNN and SO3net in LAMMPS: the plugin in C++ (plugin/, LAMMPS's licence), its compiler, the file that it reads."""
