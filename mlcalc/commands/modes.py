"""The command ``mlcalc modes``."""

import argparse


def add_modes(commands) -> None:
    """Add the command to the sub-parsers of ``mlcalc``."""
    modes = commands.add_parser(
        "modes", help="vibrations of a molecule and the beads they need", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Relax a molecule with a model; its harmonic frequencies, zero-point energy, and the energy and heat\n"
        "capacity that a ring polymer of P beads would have; infrared intensities if the model has a readout of dipoles.",
        epilog="example:\n  mlcalc modes inputs/c20/c20.xyz --model c20 --beads 1 8 32",
    )  # fmt: skip
    modes.add_argument("structure", metavar="STRUCTURE.xyz")
    modes.add_argument("--model", default="c20")
    modes.add_argument("--engine", help="instead of a model: tblite:GFN2-xTB, cp2k:INPUT_FILE, 'ase:NAME {JSON}'")
    modes.add_argument("--temperature", type=float, default=300.0, metavar="K")
    modes.add_argument("--beads", type=int, nargs="+", default=[1, 4, 8, 16, 32, 64], metavar="P")
    modes.add_argument("--json", action="store_true", help="print JSON instead of the table")
    modes.set_defaults(command=_modes)


def _modes(options) -> int:
    from mlcalc.common.settings import check_range
    from mlcalc.data.engines import make_calculator, set_state
    from mlcalc.model_file import load_model
    from mlcalc.modes import as_json, as_text, infrared_intensities, modes_by, relaxed_modes
    from mlcalc.structures.structure_files import drop_constraints, read_last

    check_range("--temperature", options.temperature, 0, open_low=True)
    for n_beads in options.beads:
        check_range("--beads", n_beads, 1)
    atoms = read_last(options.structure)
    drop_constraints([atoms], options.structure, "vibrations")
    if options.engine:
        calculator = make_calculator(options.engine)
        set_state(options.engine, calculator, atoms, options.structure)
        modes, intensities = modes_by(calculator, atoms), None
    else:
        model = load_model(options.model)
        modes = relaxed_modes(atoms, model)
        intensities = infrared_intensities(modes, model)
    print((as_json if options.json else as_text)(modes, options.temperature, options.beads, intensities))
    return 0
