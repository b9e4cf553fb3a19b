"""Settings of pre-training, fine-tuning and comparison, from TOML files."""

from dataclasses import dataclass

from mlcalc.common.errors import InputError
from mlcalc.common.settings import check_choice, check_range
from mlcalc.molecules.language.network import EncoderConfig
from mlcalc.molecules.language.tokens import SPECIAL
from mlcalc.molecules.language.writing import SOLVENTS

SPLITS = ("random", "scaffold")


@dataclass(frozen=True)
class PretrainingSettings:
    """Keys of the file of ``mlcalc molecules pretrain``; ``data``: CSV files relative to it, or ``"qm9"``."""

    data: tuple[str, ...]
    width: int = 128
    layers: int = 4
    heads: int = 8
    hidden: int = 512
    window: int = 128  # tokens of the longest input
    least_molecules: int = 10  # that hold a token, for it to be learnt
    writings: int = 4  # of each molecule: the canonical SMILES, and random ones
    mask_share: float = 0.15
    steps: int = 40_000
    batch_tokens: int = 8192  # of a batch, padding included
    learning_rate: float = 1e-3
    warmup_steps: int = 500
    weight_decay: float = 0.01
    gradient_clip: float = 1.0
    ema_decay: float = 0.999
    validation_share: float = 0.01
    checkpoint_every_steps: int = 500
    seed: int = 1
    threads: int = 2

    def __post_init__(self):
        if not self.data:
            raise InputError("data = (): expected at least one file")
        EncoderConfig(len(SPECIAL), self.width, self.layers, self.heads, self.hidden, self.window)
        check_range("least_molecules", self.least_molecules, 1)
        check_range("writings", self.writings, 1, 100)
        check_range("mask_share", self.mask_share, 0.01, 0.9)
        check_range("batch_tokens", self.batch_tokens, self.window, 1 << 22)
        check_range("validation_share", self.validation_share, 0.0, 0.5, open_low=True)
        check_range("ema_decay", self.ema_decay, 0.0, 0.999999)
        check_range("checkpoint_every_steps", self.checkpoint_every_steps, 1)
        _check_optimizer(self)

    def encoder(self, tokens: int) -> EncoderConfig:
        """The encoder of a vocabulary of so many tokens."""
        return EncoderConfig(tokens, self.width, self.layers, self.heads, self.hidden, self.window)


def _check_optimizer(settings) -> None:
    check_range("learning_rate", settings.learning_rate, 0.0, 1.0, open_low=True)
    check_range("weight_decay", settings.weight_decay, 0.0, 10.0)
    check_range("gradient_clip", settings.gradient_clip, 0.0, open_low=True)
    check_range("seed", settings.seed, 0)
    check_range("threads", settings.threads, 1, 1024)
    check_range("warmup_steps", settings.warmup_steps, 0)
    if hasattr(settings, "steps"):
        check_range("steps", settings.steps, 1)


@dataclass(frozen=True)
class FinetuningSettings:
    """Keys of the files of ``mlcalc molecules finetune`` and ``compare``; ``data`` are relative to the file."""

    data: tuple[str, ...]
    solvents: tuple[str, ...]  # of each file of data
    smiles_key: str = ""
    value_key: str = ""
    writings: int = 10  # of each molecule: the canonical SMILES, and random ones
    epochs: int = 40
    batch_size: int = 32
    learning_rate: float = 3e-4
    warmup_steps: int = 50
    weight_decay: float = 0.01
    gradient_clip: float = 1.0
    huber: float = 1.0  # standard deviations of the solubilities beyond which the loss is linear
    split: str = "random"
    test_share: float = 0.1
    validation_share: float = 0.1
    seed: int = 1
    threads: int = 2

    def __post_init__(self):
        if not self.data or len(self.data) != len(self.solvents):
            raise InputError(
                f"solvents: {len(self.solvents)} for {len(self.data)} files of data: expected one for each, and at least one"
            )
        for solvent in self.solvents:
            check_choice("solvents", solvent, SOLVENTS)
        check_choice("split", self.split, SPLITS)
        check_range("writings", self.writings, 1, 1000)
        check_range("epochs", self.epochs, 1)
        check_range("batch_size", self.batch_size, 1)
        check_range("huber", self.huber, 0.0, open_low=True)
        check_range("test_share", self.test_share, 0.0, 0.5, open_low=True)
        check_range("validation_share", self.validation_share, 0.0, 0.5, open_low=True)
        _check_optimizer(self)
