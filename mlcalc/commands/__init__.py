"""Sub-commands of ``mlcalc``."""
