"""Layers of a Transformer decoder and the order of their self-attention and cross-attention.

In Vaswani's order each layer runs self-attention, then cross-attention: what one token attends to, later tokens take
over in the next layer by self-attention, and a map need not show all of the image that a token's state depends on. With
`self_attention_first` all self-attention runs before any cross-attention: a token's state depends on the image through
its own cross-attention, and otherwise on the tokens before it alone.

Sources: Vaswani et al. 2017; Yu et al. 2022, "CoCa" (layers of text alone come first); Zhang et al. 2021, "RSTNet"
(attention with a sentinel on top of the text layers).

Axis letters: `B` images, `C` captions or beams per image, `L` tokens, `D` width, `H` heads, `N` image tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import overload

from torch import Tensor, nn

from captioner.models.attention import KeyValue
from captioner.models.decoders.cache import LayerCache, StaticLayerCache
from captioner.models.decoders.decoder_layer import DecoderLayer
from captioner.models.decoders.packing import Packing


class DecoderStack(nn.Module):
    """The layers of a Transformer decoder, named by their number.

    Args:
        layers: From the first to the last.
        self_attention_first: Run all self-attention before any cross-attention.
    """

    def __init__(self, layers: Iterable[DecoderLayer], *, self_attention_first: bool = False) -> None:
        super().__init__()
        for index, layer in enumerate(layers):
            self.add_module(str(index), layer)
        self.self_attention_first = self_attention_first

    def __len__(self) -> int:
        return len(list(self.children()))

    def __iter__(self) -> Iterator[DecoderLayer]:
        for layer in self.children():
            assert isinstance(layer, DecoderLayer)
            yield layer

    @overload
    def __getitem__(self, index: int) -> DecoderLayer: ...

    @overload
    def __getitem__(self, index: slice) -> DecoderStack: ...

    def __getitem__(self, index: int | slice) -> DecoderLayer | DecoderStack:
        layers = list(self)
        if isinstance(index, slice):
            return DecoderStack(layers[index], self_attention_first=self.self_attention_first)
        return layers[index]

    @property
    def partial_attention(self) -> bool:
        """Whether the weights on image tokens may sum to less than 1 in every layer."""
        return all(layer.cross_attention.partial for layer in self)

    def project(self, memory: Tensor) -> Iterator[KeyValue]:
        """Each layer's keys and values `[B, G, N, d]` of the memory `[B, N, D]`."""
        for layer in self:
            yield layer.cross_attention.project(memory)

    def forward(
        self,
        x: Tensor,
        image: Sequence[KeyValue],
        *,
        angles: Tensor | None,
        caches: Sequence[LayerCache | StaticLayerCache] | None = None,
        packing: Packing | None = None,
        need_weights: bool = False,
    ) -> tuple[Tensor, list[Tensor]]:
        """`x` after all layers; arguments as in `DecoderLayer`, of `image` and `caches` one entry a layer.

        Returns:
            The new `x`, and the cross-attention weights of each layer if they were requested.
        """
        layers = list(enumerate(self))
        weights = []
        for group in [layers] if self.self_attention_first else [[layer] for layer in layers]:
            attended = []
            for index, layer in group:
                cache = None if caches is None else caches[index]
                x, of_layer = layer.self_attend(x, cache=cache, angles=angles, packing=packing)
                attended.append(of_layer)
            for (index, layer), of_layer in zip(group, attended, strict=True):
                x, w = layer.cross_attend(
                    x, image[index], of_layer, packing=packing, need_weights=need_weights
                )
                if w is not None:
                    weights.append(w)
        return x, weights
