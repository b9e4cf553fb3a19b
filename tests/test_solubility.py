"""Language models of the repository: what the page says of them, and what they have learned of SMILES."""

from pathlib import Path

import pytest
import torch

from mlcalc.common.settings import build_settings, read_toml
from mlcalc.molecules.language.inputs import FIRST, MASK_NUMBER, batch_of, solute_numbers
from mlcalc.molecules.language.model_file import load_language_model
from mlcalc.molecules.language.settings import PretrainingSettings

SOLUBILITY = Path(__file__).parents[1] / "inputs" / "solubility"
PRETRAINED = SOLUBILITY / "reference" / "smiles.safetensors"


def test_the_pretrained_network_is_that_of_the_recipe():
    model = load_language_model(PRETRAINED, "masked tokens")
    path = SOLUBILITY / "pretrain.toml"
    settings = build_settings(PretrainingSettings, read_toml(path), path)
    assert model.config == settings.encoder(len(model.vocabulary.tokens))
    assert model.metadata["provenance"]["steps"] == settings.steps
    page = (SOLUBILITY / "README.md").read_text(encoding="utf-8")
    assert f"{100 * model.metadata['errors']['masked_found']:.1f} % of the hidden tokens" in page
    assert PRETRAINED.stat().st_size < 5e6


@pytest.mark.parametrize(
    ("smiles", "hidden", "expected"),
    [
        ("c1ccccc1", 3, "c"),
        ("CC(=O)Nc1ccc(O)cc1", 4, "O"),  # of a carbonyl group
        ("CC(=O)Nc1ccc(O)cc1", 16, "c"),
        ("CC(=O)Nc1ccc(O)cc1", 17, "1"),  # that closes a ring
        ("CCN(CC)CC", 5, "C"),
        ("O=[N+]([O-])c1ccccc1", 4, "[O-]"),  # of a nitro group
    ],
)
def test_hidden_tokens_are_found(smiles, hidden, expected):
    pytest.importorskip("rdkit", reason="needs RDKit: pip install 'mlcalc[molecules]'")
    from mlcalc.molecules.language.writing import canonical, molecule_of

    model = load_language_model(PRETRAINED, "masked tokens")
    writing = canonical(molecule_of(smiles))
    assert writing.smiles == smiles and writing.tokens[hidden] == expected
    numbers = solute_numbers(writing, model.vocabulary, model.config.window)
    numbers[FIRST + hidden] = MASK_NUMBER
    batch = batch_of([numbers])
    with torch.no_grad():
        (logits,) = model.network(batch, batch.tokens == MASK_NUMBER)
    assert model.vocabulary.tokens[int(logits.argmax())] == expected
