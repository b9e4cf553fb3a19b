"""Networks of molecules without coordinates to differentiate: they predict numbers of a molecule, not forces."""
