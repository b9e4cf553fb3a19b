"""A hydrogen molecule by CP2K, for tests that run where CP2K is installed."""

import shutil

import pytest

H2_INPUT = """
&GLOBAL
  PROJECT ignored
  PRINT_LEVEL LOW
&END
&FORCE_EVAL
  METHOD QS
  &DFT
    BASIS_SET_FILE_NAME BASIS_MOLOPT
    POTENTIAL_FILE_NAME GTH_POTENTIALS
    &MGRID
      CUTOFF 200
    &END
    &POISSON
      PERIODIC NONE
      POISSON_SOLVER WAVELET
    &END
    &SCF
      MAX_SCF 30
    &END
    &XC
      &XC_FUNCTIONAL PBE
      &END
    &END
  &END
  &SUBSYS
    &CELL
      ABC 6.0 6.0 6.0
    &END
    &COORD
      H 0 0 0
    &END
    &KIND H
      BASIS_SET DZVP-MOLOPT-SR-GTH
      POTENTIAL GTH-PBE-q1
    &END
  &END
&END
"""
needs_cp2k = pytest.mark.skipif(shutil.which("cp2k_shell.psmp") is None, reason="CP2K is not installed")
