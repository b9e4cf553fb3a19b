"""A model in one line, in one screen, or as JSON."""

from dataclasses import asdict
from pathlib import Path

from ase.data import chemical_symbols

from mlcalc.architectures import architecture_of, name_of
from mlcalc.common.json_text import to_json
from mlcalc.common.tables import aligned, with_error
from mlcalc.model import Model
from mlcalc.outputs import OF_READOUTS, Output, outputs_with
from mlcalc.priors import as_tables
from mlcalc.readouts import outputs_of

_MOST_PAIRS = 12  # of elements, in one screen


def describe(model: Model) -> str:
    """One line about the architecture."""
    config = model.config
    elements = " ".join(chemical_symbols[z] for z in config.elements)
    reach = f"cutoff {config.cutoff:g} Å" if config.cutoff else "all pairs"
    architecture = architecture_of(config)
    priors = "".join(f", {prior}" for prior in model.priors.values())
    corrected = f"; a correction to {engine}" if (engine := model.domain.get("correction_to")) else ""
    names = [
        f"{name} {' in '.join(model.scalar)}" if model.scalar and name == "scalar" else name
        for name in outputs_of(model.readouts)
    ]
    said = f"; beside energies: {', '.join(names)}" if names else ""
    network = f"{architecture.title} {architecture.describe(config)}, {reach}"
    return f"{network}, elements {elements}{priors}{said}{corrected}"


def as_text(name: str, path: Path, model: Model) -> str:
    """One screen: architecture, size, domain, origin, errors."""
    metadata, numbers = model.metadata, sum(array.size for array in model.weights.values())
    dtype = max(
        model.weights.values(), key=lambda array: array.size
    ).dtype  # constant energies are float64 in every model
    rows = [
        ["network", describe(model)],
        ["numbers", f"{numbers} in {dtype}, {path.stat().st_size / 1e6:.2f} MB"],
        ["domain", _domain(model.domain)],
        ["made from", _origin(metadata.get("provenance", {}))],
    ]
    for data, errors in (metadata.get("test_errors") or {}).items():
        rows.append([f"errors on {data}", _errors(errors, outputs_with(model.scalar))])
    if not metadata.get("test_errors"):
        rows.append(["errors", "none recorded; mlcalc evaluate --record"])
    card = path.with_suffix(".md")
    return aligned([name, ""], rows, left=2) + (f"\nmodel card: {card}" if card.exists() else "")


def _domain(domain: dict) -> str:
    shortest, farthest = domain.get("min_distance_A"), domain.get("max_nearest_distance_A")
    known = [f"shortest {shortest:.2f} Å"] if shortest else []
    known += [f"nearest neighbours up to {farthest:.2f} Å"] if farthest else []
    lone = ", ".join(chemical_symbols[z] for z in domain.get("lone_elements", ()))
    free = ", ".join(chemical_symbols[z] for z in domain.get("free_elements", ()))
    of_pairs = domain.get("min_distances_A", {})
    pairs = ", ".join(f"{pair} {distance:.2f}" for pair, distance in list(of_pairs.items())[:_MOST_PAIRS])
    pairs += f" … (--json lists all {len(of_pairs)})" if len(of_pairs) > _MOST_PAIRS else ""
    known += [f"shortest by pair {pairs} Å"] if "," in pairs else []
    masses = ", ".join(f"{symbol} {mass:g} u" for symbol, mass in domain.get("bead_masses_u", {}).items())
    parts = ["distances in training: " + ", ".join(known) if known else "distances not recorded: none will be refused"]
    parts += [f"{what} {domain[what]}" for what in ("charge", "multiplicity") if what in domain]
    parts += [f"{lone} only as free atoms"] if lone else []
    parts += [f"free atoms of {free}"] if free and not lone else []
    parts += [f"beads of {masses}"] if masses else []
    return "; ".join(parts)


def _origin(provenance: dict) -> str:
    if "imported_from" in provenance:
        return provenance["imported_from"]
    if "training_frames" not in provenance:
        return "not recorded"
    files = ", ".join(provenance.get("training_files_sha256", {}))
    return f"{provenance['training_frames']} frames of {files}; {provenance.get('steps', '?')} steps"


def _errors(errors: dict, outputs: dict[str, Output]) -> str:
    mae, error = errors.get("force_mae_eV_per_A"), errors.get("force_mae_error_eV_per_A")
    parts = []
    if mae is not None:
        parts.append(f"forces {with_error(1e3 * mae, 1e3 * error) if error else f'{1e3 * mae:.1f}'} meV/Å")
    if (energy := errors.get("energy_mae_meV_per_atom")) is not None:
        parts.append(f"energies {energy:.2f} meV/atom")
    for name in OF_READOUTS:
        what, unit = outputs[name].error or ("", "")
        if (value := errors.get(f"{what}_mae_{unit}")) is not None:
            parts.append(f"{outputs[name].title(name)} {1e3 * value:.3g} {outputs[name].thousandth()}")
    if not parts:
        return "none"
    return f"{', '.join(parts)} (MAE" + (f", {errors['frames']} frames)" if "frames" in errors else ")")


def as_json(model: Model) -> str:
    """Architecture, priors and all metadata of the file."""
    described = {
        "architecture": name_of(model.config),
        "config": asdict(model.config),
        "priors": as_tables(model.priors),
    }
    described |= {"readouts": list(model.readouts)} if model.readouts else {}
    return to_json(described | model.metadata, indent=1)
