"""The calculators that ASE finds through the entry point ``ase.plugins`` (``ase info --calculators``).

ASE's plug-ins are experimental (a private module, since 3.27): where ASE has none, nothing is registered.
"""

try:
    from ase._4.plugins.plugin import CalculatorPlugin
except ImportError:
    __ase_plugins__: frozenset = frozenset()
else:
    __ase_plugins__ = frozenset({
        CalculatorPlugin("mlcalc", implementation="mlcalc.calculator.NetworkCalculator"),
        CalculatorPlugin(
            "schnet", implementation="mlcalc.calculator.SchNetCalculator",
            citation="K. T. Schütt et al., J. Chem. Phys. 148, 241722 (2018), doi:10.1063/1.5019779",
        )
    })  # fmt: skip
