"""A Transformer encoder of tokens with layers normalised before use, and its two tasks: masked tokens and solubility.

Vaswani et al., NeurIPS 2017; Devlin et al., NAACL 2019 (masked tokens), doi:10.18653/v1/N19-1423; Xiong et al., ICML 2020
(normalisation first). In shapes, B is the number of molecules, L of tokens, H of heads, F the width.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from mlcalc.common.errors import InputError
from mlcalc.common.settings import check_range
from mlcalc.molecules.language.tokens import SPECIAL


@dataclass(frozen=True)
class EncoderConfig:
    """Size of an encoder; ``window``: the most tokens of an input, <REG>, <SEP> and the solvent included."""

    tokens: int  # of the vocabulary
    width: int = 128
    layers: int = 4
    heads: int = 8
    hidden: int = 512
    window: int = 128

    def __post_init__(self):
        check_range("tokens", self.tokens, len(SPECIAL), 1 << 14)
        for name, most in (("width", 4096), ("layers", 64), ("heads", 64), ("hidden", 1 << 14)):
            check_range(name, getattr(self, name), 1, most)
        check_range("window", self.window, 8, 4096)
        if self.width % self.heads:
            raise InputError(f"width = {self.width}: expected a multiple of heads = {self.heads}")


class Batch(NamedTuple):
    """Inputs of a network, each (B, L): token numbers, segments (0 solute, 1 solvent), and False where there is padding."""

    tokens: Tensor
    segments: Tensor
    real: Tensor


class Trace:
    """What the layers of one pass did, for explanations.

    ``linear``: attention weights, denominators of normalisations and gates of activations count as constants, so that the output
    is linear in embeddings and biases together. ``attention``: of each layer (B, H, L, L), part of the graph of derivatives.
    """

    def __init__(self, linear: bool = False):
        self.linear = linear
        self.attention: list[Tensor] = []


def _normalised(norm: nn.LayerNorm, x: Tensor, linear: bool) -> Tensor:
    if not linear:
        return norm(x)
    centred = x - x.mean(-1, keepdim=True)
    scale = (centred.square().mean(-1, keepdim=True) + norm.eps).sqrt().detach()
    return centred / scale * norm.weight + norm.bias


def _activated(x: Tensor, linear: bool) -> Tensor:
    """GELU: x Φ(x)."""
    if not linear:
        return functional.gelu(x)
    return x * torch.special.ndtr(x).detach()


class Layer(nn.Module):
    """Self-attention and a feed-forward network, each added to what it reads."""

    def __init__(self, config: EncoderConfig):
        super().__init__()
        self.heads = config.heads
        self.norm_attention = nn.LayerNorm(config.width)
        self.query_key_value = nn.Linear(config.width, 3 * config.width)
        self.mixed = nn.Linear(config.width, config.width)
        self.norm_forward = nn.LayerNorm(config.width)
        self.up = nn.Linear(config.width, config.hidden)
        self.down = nn.Linear(config.hidden, config.width)

    def forward(self, x: Tensor, mask: Tensor, trace: Trace | None = None) -> Tensor:
        """States (B, L, F) from states; ``mask`` (B, 1, 1, L): tokens that may be attended to."""
        linear = trace is not None and trace.linear
        batch, length, width = x.shape
        read = self.query_key_value(_normalised(self.norm_attention, x, linear))
        q, k, v = read.view(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        if trace is None:
            heads = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        else:
            scores = (q @ k.transpose(-1, -2)) * (width // self.heads) ** -0.5
            weights = scores.masked_fill(~mask, -torch.inf).softmax(-1)  # (B, H, L, L), rows sum to 1
            weights = weights.detach() if linear else weights
            trace.attention.append(weights)
            heads = weights @ v
        x = x + self.mixed(heads.transpose(1, 2).reshape(batch, length, width))
        return x + self.down(_activated(self.up(_normalised(self.norm_forward, x, linear)), linear))


class Encoder(nn.Module):
    """Token numbers to states."""

    def __init__(self, config: EncoderConfig):
        super().__init__()
        self.config = config
        self.token = nn.Embedding(config.tokens, config.width)
        self.position = nn.Embedding(config.window, config.width)
        self.segment = nn.Embedding(2, config.width)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        for table in (self.token, self.position, self.segment):
            nn.init.normal_(table.weight, std=0.02)

    def embed(self, batch: Batch) -> Tensor:
        """Embeddings (B, L, F): of token, position and segment, added."""
        places = torch.arange(batch.tokens.shape[1], device=batch.tokens.device)
        return self.token(batch.tokens) + self.position(places) + self.segment(batch.segments)

    def forward(self, embedded: Tensor, real: Tensor, trace: Trace | None = None) -> Tensor:
        """States (B, L, F) of embeddings, normalised."""
        x, mask = embedded, real[:, None, None, :]
        for layer in self.layers:
            x = layer(x, mask, trace)
        return _normalised(self.norm, x, trace is not None and trace.linear)


class MaskedTokens(nn.Module):
    """The task of pre-training: which token is hidden at a place; the output layer shares the embeddings of the tokens."""

    def __init__(self, config: EncoderConfig):
        super().__init__()
        self.encoder = Encoder(config)
        self.dense = nn.Linear(config.width, config.width)
        self.norm = nn.LayerNorm(config.width)
        self.bias = nn.Parameter(torch.zeros(config.tokens))

    def forward(self, batch: Batch, hidden: Tensor) -> Tensor:
        """Logits (n, tokens) of the n places where ``hidden`` (B, L) is true."""
        states = self.encoder(self.encoder.embed(batch), batch.real)[hidden]
        return functional.linear(self.norm(functional.gelu(self.dense(states))), self.encoder.token.weight, self.bias)


class SolubilityNetwork(nn.Module):
    """log10 of the solubility in mol/L, from the state of <REG>; ``mean`` and ``scale`` are those of the training values."""

    mean: Tensor
    scale: Tensor

    def __init__(self, config: EncoderConfig):
        super().__init__()
        self.encoder = Encoder(config)
        self.head = nn.Linear(config.width, 1)
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("scale", torch.ones(()))

    def read(self, embedded: Tensor, real: Tensor, trace: Trace | None = None) -> Tensor:
        """Solubilities (B,) of embeddings (B, L, F)."""
        return self.mean + self.scale * self.head(self.encoder(embedded, real, trace)[:, 0])[:, 0]

    def forward(self, batch: Batch) -> Tensor:
        """Solubilities (B,) of a batch."""
        return self.read(self.encoder.embed(batch), batch.real)


TASKS: dict[str, type[MaskedTokens] | type[SolubilityNetwork]] = {
    "masked tokens": MaskedTokens,
    "solubility": SolubilityNetwork,
}
