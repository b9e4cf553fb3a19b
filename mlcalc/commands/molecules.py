"""The command ``mlcalc molecules``: language models of SMILES."""

import argparse
from pathlib import Path

from mlcalc.common.errors import InputError, say


def add_molecules(commands) -> None:
    """Add the command to the sub-parsers of ``mlcalc``."""
    example = "mlcalc molecules predict runs/aqsoldb CCO c1ccccc1"
    molecules = commands.add_parser(
        "molecules", help="solubilities of molecules from SMILES", epilog=f"example:\n  {example}",
        description="A language model of SMILES: pre-train, fine-tune, compare, predict. Needs pip install 'mlcalc[molecules]'.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    steps = molecules.add_subparsers(required=True, metavar="STEP")
    _add_pretrain(steps)
    _add_finetune(steps)
    _add_compare(steps)
    _add_predict(steps)


def _add(steps, name: str, text: str, example: str) -> argparse.ArgumentParser:
    return steps.add_parser(
        name, help=text, description=f"{text[0].upper()}{text[1:]}.", epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip


def _add_config(step: argparse.ArgumentParser, keys: str) -> None:
    step.add_argument("config", metavar="CONFIG.toml", help=f"keys: {keys} in mlcalc/molecules/language/settings.py")
    step.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER")
    step.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="assignments", help="any key")


def _add_pretrain(steps) -> None:
    step = _add(
        steps, "pretrain", "learn to find hidden tokens of SMILES",
        "mlcalc molecules pretrain inputs/solubility/pretrain.toml -o runs/smiles\n"
        "  mlcalc molecules pretrain inputs/solubility/pretrain.toml -o runs/smiles --resume",
    )  # fmt: skip
    _add_config(step, "PretrainingSettings")
    step.add_argument("--resume", action="store_true", help="resume in the output folder, identical to the bit")
    step.set_defaults(command=_pretrain)


def _add_finetune(steps) -> None:
    step = _add(
        steps, "finetune", "learn solubilities from a pre-trained network",
        "mlcalc molecules finetune inputs/solubility/aqsoldb.toml --init runs/smiles -o runs/aqsoldb",
    )  # fmt: skip
    _add_config(step, "FinetuningSettings")
    step.add_argument("--init", type=Path, required=True, metavar="MODEL", help="of 'mlcalc molecules pretrain'")
    step.add_argument("--random-start", action="store_true", help="its size and vocabulary, but random weights")
    step.set_defaults(command=_finetune)


def _add_compare(steps) -> None:
    step = _add(
        steps, "compare", "compare pre-trained, random and frozen networks with baselines, on random and scaffold splits",
        "mlcalc molecules compare inputs/solubility/esol.toml --init runs/smiles -o runs/esol_comparison",
    )  # fmt: skip
    _add_config(step, "FinetuningSettings")
    step.add_argument("--init", type=Path, required=True, metavar="MODEL", help="of 'mlcalc molecules pretrain'")
    step.add_argument("--splits", type=int, default=5, metavar="N", help="of each kind (default: 5)")
    step.set_defaults(command=_compare)


def _add_predict(steps) -> None:
    step = _add(
        steps, "predict", "predict solubilities, log10 of mol/L", "mlcalc molecules predict runs/aqsoldb CCO c1ccccc1"
    )
    step.add_argument("model", type=Path, metavar="MODEL", help="of 'mlcalc molecules finetune'")
    step.add_argument("smiles", nargs="*", metavar="SMILES")
    step.add_argument(
        "--file", type=Path, metavar="FILE.csv", help="with a column of SMILES; rows that fail are listed"
    )
    step.add_argument(
        "--solvent", default="water", help="water, ethanol, benzene or acetone, if trained (default: water)"
    )
    step.add_argument(
        "--writings", type=int, default=10, metavar="N", help="random writings for the spread (default: 10)"
    )
    step.add_argument("-o", "--output", type=Path, metavar="OUT.csv", help="also write a table")
    step.set_defaults(command=_predict)


def _overrides(options) -> dict:
    from mlcalc.common.settings import parse_assignment

    return dict(parse_assignment(text) for text in options.assignments)


def _pretrain(options) -> int:
    from mlcalc.molecules.language.pretraining import pretrain

    print(f"model: {pretrain(options.config, options.output, options.resume, _overrides(options))}")
    return 0


def _finetune(options) -> int:
    from mlcalc.molecules.language.finetuning import finetune

    model, text = finetune(options.config, options.init, options.output, options.random_start, _overrides(options))
    print(f"{text}\nmodel: {model}")
    return 0


def _compare(options) -> int:
    from mlcalc.molecules.language.comparison import compare

    print(compare(options.config, options.init, options.output, options.splits, _overrides(options)))
    return 0


def _predict(options) -> int:
    from mlcalc.common.files import check_place, write_atomically
    from mlcalc.common.settings import check_range
    from mlcalc.common.tables import aligned
    from mlcalc.molecules.language.model_file import load_language_model
    from mlcalc.molecules.language.prediction import predict
    from mlcalc.molecules.language.tables import read_smiles
    from mlcalc.molecules.toolkit import rdkit

    rdkit()
    check_range("--writings", options.writings, 0, 1000)
    if bool(options.smiles) == bool(options.file):
        raise InputError("SMILES or --file: expected one of them")
    if options.output:
        check_place(options.output)
    rows = list(read_smiles(options.file)) if options.file else list(enumerate(options.smiles, 1))
    model = load_language_model(options.model, "solubility")
    found = predict(model, [smiles for _, smiles in rows], options.solvent, options.writings)
    failed = [(line, one) for (line, _), one in zip(rows, found, strict=True) if isinstance(one, InputError)]
    if failed and not options.file:
        raise failed[0][1]
    for line, error in failed:
        say(f"{options.file}: line {line}: {error}")
    good = [one for one in found if not isinstance(one, InputError)]
    header = ["SMILES", "log10 S", "spread over writings"]
    print(aligned(header, [[p.smiles, f"{p.log_s:.3f}", f"{p.spread:.3f}"] for p in good], left=1))
    if options.file:
        print(f"{len(good)} molecules in {options.solvent}, {len(failed)} rows refused")
    if options.output:
        lines = [f"{p.smiles},{options.solvent},{p.log_s:.4f},{p.spread:.4f}\n" for p in good]
        write_atomically(options.output, "".join(["smiles,solvent,log_s,spread\n", *lines]).encode())
    return 1 if failed else 0
