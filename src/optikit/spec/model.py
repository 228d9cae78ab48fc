"""The shape of a model: the facts of its config.json that memory and time depend on."""

from __future__ import annotations

from pydantic import Field

from optikit.spec.base import Spec

__all__ = ["ModelShape"]


class ModelShape(Spec):
    """A decoder-only transformer with gated MLP and grouped-query attention."""

    architecture: str
    layers: int = Field(ge=1)
    hidden: int = Field(ge=1)
    heads: int = Field(ge=1)
    kv_heads: int = Field(ge=1)
    head_dim: int = Field(ge=1)
    intermediate: int = Field(ge=1)
    vocab: int = Field(ge=1)
    max_context: int = Field(ge=1)
    """Longest context in tokens the position embedding was made for."""
    tied_embeddings: bool = False
    qkv_bias: bool = False
    source: str
    """Where the shape was read."""

    @property
    def block_parameters(self) -> int:
        """Weights of the linear layers of all blocks: what a recipe compresses."""
        attention = self.hidden * self.head_dim * (2 * self.heads + 2 * self.kv_heads)
        return self.layers * (attention + 3 * self.hidden * self.intermediate)

    @property
    def embedding_parameters(self) -> int:
        """Embedding and output head: kept at the model's own dtype by every recipe."""
        return self.vocab * self.hidden * (1 if self.tied_embeddings else 2)

    @property
    def norm_parameters(self) -> int:
        """Norms and attention biases."""
        norms = (2 * self.layers + 1) * self.hidden
        bias = self.layers * self.head_dim * (self.heads + 2 * self.kv_heads)
        return norms + (bias if self.qkv_bias else 0)

    @property
    def parameters(self) -> int:
        """All weights."""
        return self.block_parameters + self.embedding_parameters + self.norm_parameters

    def kv_bytes_per_token(self, element_bytes: float) -> float:
        """Keys and values of one token over all layers, before any tensor-parallel split."""
        return 2 * self.layers * self.kv_heads * self.head_dim * element_bytes
