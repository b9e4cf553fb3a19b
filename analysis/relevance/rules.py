"""Architectures with relevance rules: one file and one row each."""

from analysis.relevance import painn, schnet, so3net
from analysis.relevance.layer_rules import LayerRules
from mlcalc.architectures import ARCHITECTURES, architecture_of, name_of
from mlcalc.common.errors import InputError

# By their names in mlcalc.architectures.ARCHITECTURES.
RULES: dict[str, LayerRules] = {"schnet": schnet.RULES, "painn": painn.RULES, "so3net": so3net.RULES}


def check_rules(config) -> None:
    """Raise InputError for an architecture that has no row."""
    if name_of(config) not in RULES:
        known = " or ".join(ARCHITECTURES[name].title for name in RULES)
        raise InputError(f"no relevance rules for a {architecture_of(config).title}: expected a model of {known}")
