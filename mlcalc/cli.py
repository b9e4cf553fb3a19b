"""The command line ``mlcalc``. Heavy imports wait for their command."""

import argparse
from pathlib import Path

from mlcalc.commands.coarse_grain import add_coarse_grain
from mlcalc.commands.import_model import add_import
from mlcalc.common.completion import add_completion
from mlcalc.common.errors import InputError, run_command
from mlcalc.common.json_text import to_json

_RAW = argparse.RawDescriptionHelpFormatter
_ENGINES = """engines:
  tblite:GFN2-xTB     extended tight binding; pip install 'mlcalc[label]'
  cp2k:INPUT_FILE     DFT by CP2K; the input file is the level of theory
  schnet:MODEL        a shipped model or a model file
  ase:NAME            any calculator that ASE knows by name"""


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code (0 done, 1 some structures failed, 2 bad input, 130 interrupted)."""
    options = _parser().parse_args(arguments)
    return run_command("mlcalc", lambda: options.command(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mlcalc", description="SchNet potentials: label, train, evaluate, import.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (
        _add_label,
        _add_sample,
        add_coarse_grain,
        _add_train,
        _add_evaluate,
        _add_modes,
        _add_relax,
        add_import,
        _add_info,
    ):
        add(commands)
    return add_completion(parser)


def _add_label(commands) -> None:
    label = commands.add_parser(
        "label", help="energies and forces of structures from an engine", formatter_class=_RAW,
        description="Label structures; run the same command again to continue or to retry failures.",
        epilog=f"{_ENGINES}\n\nexample:\n  mlcalc label frames.xyz --engine tblite:GFN2-xTB -j 2 -o labels.xyz",
    )  # fmt: skip
    label.add_argument("structures", metavar="STRUCTURES.xyz")
    label.add_argument("--engine", required=True)
    label.add_argument("-j", "--jobs", type=int, default=1, help="worker processes (default: 1)")
    label.add_argument("-o", "--output", required=True, metavar="OUT.xyz")
    label.set_defaults(command=_label)


def _label(options) -> int:
    from mlcalc.data.labelling import label_file

    report = label_file(Path(options.structures), options.engine, Path(options.output), options.jobs)
    print(
        f"{report.labelled} of {report.total} structures labelled ({report.resumed} by earlier runs): {report.output}"
    )
    if report.failures:
        index, reason = next(iter(report.failures.items()))
        print(f"{len(report.failures)} failed, kept apart in {report.failed_output}; structure {index + 1}: {reason}")
        return 1
    return 0


def _add_sample(commands) -> None:
    sample = commands.add_parser(
        "sample", help="make structures with a potential", formatter_class=_RAW,
        description="Make structures of one molecule: harmonic draws at P beads, Langevin dynamics, and\n"
        "copies of its structures that are scaled or have a few atoms pushed out of place.",
        epilog=f"{_ENGINES}\n\nexample:\n  mlcalc sample normal-modes c20.xyz --engine schnet:c20 --beads 8 -n 500 -o frames.xyz\n"
        "(structures from real ring-polymer MD: rpmd run, then rpmd frames)",
    )  # fmt: skip
    sample.add_argument("method", choices=("normal-modes", "md", "compressed", "pushed"))
    sample.add_argument("structure", metavar="STRUCTURE.xyz")
    sample.add_argument(
        "--engine", required=True, help="see below; its name goes into the structures that keep their energies"
    )
    for name, kind, default, metavar, text in (
        ("--count", int, 100, "N", "structures in all"),
        ("--temperature", float, 300.0, "K", "of the draws or the dynamics"),
        ("--beads", _beads, 8, "P", "of the harmonic draws; 1 is classical, inf the quantum limit"),
        ("--trajectories", int, 4, "N", "independent MD trajectories that share the count"),
        ("--timestep-fs", float, 0.5, "fs", "of the dynamics"),
        ("--stride", int, 100, "N", "MD steps between structures; the first 1000 of each trajectory are left out"),
        ("--seed", int, 0, "N", "of the random numbers"),
    ):  # fmt: skip
        short = ["-n"] if name == "--count" else []
        help_text = f"{text} (default: {default})"
        sample.add_argument(*short, name, type=kind, default=default, metavar=metavar, help=help_text)
    for name, range_, text in (
        ("--scales", (0.85, 1.05), "factors of compressed structures"),
        ("--push-A", (0.15, 0.6), "shortest and longest shift of pushed atoms, Å"),
    ):
        help_text = f"{text} (default: {range_[0]} {range_[1]})"
        sample.add_argument(name, type=float, nargs=2, default=range_, metavar=("LOW", "HIGH"), help=help_text)
    sample.add_argument("-o", "--output", required=True, metavar="OUT.xyz")
    sample.set_defaults(command=_sample)


def _beads(text: str) -> int | None:
    return None if text == "inf" else int(text)


def _sample(options) -> int:
    from mlcalc.data.sampling import LangevinSettings, SampleSettings, sample_to_file

    settings = SampleSettings(
        options.count, options.temperature, options.beads, options.trajectories, tuple(options.scales),
        tuple(options.push_A), options.seed,
        LangevinSettings(timestep_fs=options.timestep_fs, stride=options.stride),
    )  # fmt: skip
    made = sample_to_file(options.method, options.engine, Path(options.structure), Path(options.output), settings)
    print(f"{len(made)} structures written to {options.output}")
    return 0


def _add_train(commands) -> None:
    train = commands.add_parser(
        "train", help="train a network", formatter_class=_RAW,
        description="Train a SchNet on energies and forces as a TOML file says.",
        epilog="example (--resume takes it up where it stopped):\n  mlcalc train inputs/c20/train.toml -o runs/train",
        add_help=False,
    )  # fmt: skip
    train.add_argument("-h", "--help", action=_HelpWithKeys, help="show this help message and exit")
    train.add_argument("config", metavar="CONFIG.toml")
    train.add_argument(
        "-o", "--output", metavar="FOLDER", help="default: the name of the config, in the current folder"
    )
    train.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="assignments", help="any key")
    train.add_argument("--init", metavar="MODEL", help="start from the weights of this model")
    train.add_argument("--resume", action="store_true", help="go on in the output folder")
    train.set_defaults(command=_train)


class _HelpWithKeys(argparse._HelpAction):
    """Help of a command with the keys of its file: to know them takes imports that other commands need not wait for."""

    def __call__(self, parser, namespace, values, option_string=None):
        from mlcalc.common.settings import describe_keys
        from mlcalc.training.settings import TrainingSettings

        parser.epilog += f"\n\nkeys of the file and their defaults:\n{describe_keys(TrainingSettings)}"
        super().__call__(parser, namespace, values, option_string)


def _train(options) -> int:
    from mlcalc.common.settings import parse_assignment
    from mlcalc.training.trainer import train

    output = Path(options.output or Path(options.config).stem)
    overrides = dict(parse_assignment(text) for text in options.assignments)
    model = train(options.config, output, options.init, options.resume, overrides)
    print(f"model: {model}\nlearning curve: {output / 'learning_curve.png'}")
    return 0


def _add_evaluate(commands) -> None:
    evaluate = commands.add_parser(
        "evaluate", help="errors of a model on labelled structures", formatter_class=_RAW,
        description="MAE and RMSE of energies and forces with error bars, by kind of structure, and a parity plot.",
        epilog="example:\n  mlcalc evaluate c20 inputs/c20/pbe_d3_test.xyz",
    )  # fmt: skip
    evaluate.add_argument("model", metavar="MODEL")
    evaluate.add_argument("data", nargs="+", metavar="DATA.xyz", help="several are shown on one zero of energy")
    evaluate.add_argument("-o", "--output", metavar="PARITY.png", help="default: parity-MODEL-DATA.png here")
    evaluate.add_argument("--group-by", nargs="*", default=("sampling", "temperature_K", "beads"), metavar="KEY")
    evaluate.add_argument("--precision", choices=("float32", "float64"), default="float32")
    evaluate.add_argument("--energy-key", default="", metavar="NAME", help="of the energies, where it is not energy")
    evaluate.add_argument("--forces-key", default="", metavar="NAME", help="of the forces, where it is not forces")
    evaluate.add_argument(
        "--energy-unit",
        default="",
        metavar="UNIT",
        help="of the energies, forces in that over Å (default: as the file says, or eV)",
    )
    evaluate.add_argument("--record", action="store_true", help="also note the errors in the model file")
    evaluate.add_argument("--json", action="store_true", help="print JSON instead of the table")
    evaluate.set_defaults(command=_evaluate)


def _evaluate(options) -> int:
    from mlcalc.common.settings import check_choice
    from mlcalc.model_file import find_model
    from mlcalc.structures.labels import LabelNames
    from mlcalc.structures.unit_names import ENERGY_UNITS
    from mlcalc.training.evaluation import as_text, evaluate, record

    plot = (
        options.output or f"parity-{Path(options.model).stem}-{'-'.join(Path(name).stem for name in options.data)}.png"
    )
    if Path(plot).suffix != ".png" or not Path(plot).parent.is_dir():
        raise InputError(f"--output {plot}: expected a name that ends in .png, in a folder that exists")
    if options.energy_unit:
        check_choice("--energy-unit", options.energy_unit, ENERGY_UNITS)
    names = LabelNames(options.energy_key, options.forces_key, options.energy_unit)
    evaluation = evaluate(options.model, options.data, tuple(options.group_by), plot, options.precision, names)
    if options.record:
        record(evaluation, find_model(options.model))
    print(to_json(evaluation.as_dict(), indent=1) if options.json else f"{as_text(evaluation)}\nparity plot: {plot}")
    return 0


def _add_modes(commands) -> None:
    modes = commands.add_parser(
        "modes", help="vibrations of a molecule and the beads they ask for", formatter_class=_RAW,
        description="Relax a molecule with a model; its harmonic frequencies, zero-point energy, and the energy and heat\n"
        "capacity that a ring polymer of P beads would have.",
        epilog="example:\n  mlcalc modes inputs/c20/c20.xyz --model c20 --beads 1 8 32",
    )  # fmt: skip
    modes.add_argument("structure", metavar="STRUCTURE.xyz")
    modes.add_argument("--model", default="c20")
    modes.add_argument("--engine", help="in place of a model: tblite:GFN2-xTB, cp2k:INPUT_FILE, ase:NAME")
    modes.add_argument("--temperature", type=float, default=300.0, metavar="K")
    modes.add_argument("--beads", type=int, nargs="+", default=[1, 4, 8, 16, 32, 64], metavar="P")
    modes.add_argument("--json", action="store_true", help="print JSON instead of the table")
    modes.set_defaults(command=_modes)


def _modes(options) -> int:
    from mlcalc.common.settings import check_range
    from mlcalc.data.engines import make_calculator, set_state
    from mlcalc.model_file import load_model
    from mlcalc.modes import as_json, as_text, modes_by, relaxed_modes
    from mlcalc.structures.structure_files import drop_constraints, read_last

    check_range("--temperature", options.temperature, 0, open_low=True)
    for n_beads in options.beads:
        check_range("--beads", n_beads, 1)
    atoms = read_last(options.structure)
    drop_constraints([atoms], options.structure, "vibrations")
    if options.engine:
        calculator = make_calculator(options.engine)
        set_state(options.engine, calculator, atoms, options.structure)
        modes = modes_by(calculator, atoms)
    else:
        modes = relaxed_modes(atoms, load_model(options.model))
    print((as_json if options.json else as_text)(modes, options.temperature, options.beads))
    return 0


def _add_relax(commands) -> None:
    relax = commands.add_parser(
        "relax", help="a minimum near a structure", formatter_class=_RAW,
        description="Relax a structure with any engine and write the minimum with its energy and forces; the cell stays as it is.",
        epilog=f"{_ENGINES}\n\nexample:\n  mlcalc relax molecule.xyz --engine tblite:GFN2-xTB -o minimum.xyz",
    )  # fmt: skip
    relax.add_argument("structure", metavar="STRUCTURE.xyz")
    relax.add_argument("--engine", required=True)
    relax.add_argument(
        "--max-force", type=float, default=1e-3, metavar="eV/Å", help="left at the minimum (default: 0.001)"
    )
    relax.add_argument("-o", "--output", required=True, metavar="OUT.xyz")
    relax.set_defaults(command=_relax)


def _relax(options) -> int:
    from mlcalc.common.settings import check_range
    from mlcalc.data.relaxation import relax_file

    check_range("--max-force", options.max_force, 0, open_low=True)
    print(relax_file(Path(options.structure), options.engine, Path(options.output), options.max_force))
    return 0


def _add_info(commands) -> None:
    info = commands.add_parser(
        "info", help="a model in one screen", epilog="example:\n  mlcalc info c20", formatter_class=_RAW,
        description="Architecture, domain, origin and recorded errors of a model; without one, the shipped models.",
    )  # fmt: skip
    info.add_argument("model", nargs="?", metavar="MODEL", help="default: list the shipped models")
    info.add_argument("--json", action="store_true", help="all that the file holds but the weights")
    info.set_defaults(command=_info)


def _info(options) -> int:
    from mlcalc.model_file import find_model, load_model, shipped_models
    from mlcalc.model_summary import as_json, as_text, describe

    if options.model is None:
        for name in shipped_models():
            print(f"{name}: {describe(load_model(name))}")
        return 0
    model = load_model(options.model)
    print(as_json(model) if options.json else as_text(options.model, find_model(options.model), model))
    return 0
