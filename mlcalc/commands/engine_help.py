"""Values of ``--engine``, for the help of commands."""

ENGINES = """engines:
  tblite:GFN2-xTB     extended tight binding; pip install 'mlcalc[label]'
  cp2k:INPUT_FILE     DFT by CP2K; the input file is the level of theory
  schnet:MODEL        a shipped model or a model file
  ase:NAME            any calculator that ASE knows by name; 'ase:NAME {JSON}' with arguments
  'ase:PACKAGE.NAME {JSON}'  a class or function by its importable name, with arguments
  'ENGINE + schnet:MODEL'    an engine and a network that corrects it, see mlcalc label --subtract"""
