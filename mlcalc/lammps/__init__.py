"""SchNet and PaiNN in LAMMPS: a plugin in C++ (plugin/, under LAMMPS's licence), its compiler, and the file that it reads."""
