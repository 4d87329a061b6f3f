"""In what order do words read each other and look at the image?

In Vaswani's order each layer reads, then looks: what one word saw, later words read in the next layer, and a map need
not show all that a word knew of the image. Read first, all layers read before any looks: of the image a word knows
what its own attention brings and what the words before it say. No word looks for another.

Sources: Vaswani et al. 2017; Yu et al. 2022, "CoCa" (layers that read text alone come first); Zhang et al. 2021,
"RSTNet" (attention with a sentinel on top of the words' layers).

Axis letters: `B` images, `C` captions or beams per image, `L` tokens, `D` width, `H` heads, `N` image tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from torch import Tensor, nn

from captioner.models.attention import KeyValue
from captioner.models.decoders.cache import Filling, Slot
from captioner.models.decoders.decoder_layer import DecoderLayer
from captioner.models.decoders.packing import Packing


class DecoderStack(nn.ModuleList):
    """The layers of a Transformer decoder.

    Args:
        layers: From the first to the last.
        self_attention_first: Let all read before any looks.
    """

    def __init__(self, layers: Iterable[DecoderLayer], *, self_attention_first: bool = False) -> None:
        super().__init__(layers)
        self.self_attention_first = self_attention_first

    def __iter__(self) -> Iterator[DecoderLayer]:
        for layer in super().__iter__():
            assert isinstance(layer, DecoderLayer)
            yield layer

    @property
    def may_look_away(self) -> bool:
        """Whether attention may go elsewhere than to the image."""
        return all(layer.cross_attention.may_look_away for layer in self)

    def project(self, memory: Tensor) -> Iterator[KeyValue]:
        """Each layer's keys and values `[B, G, N, d]` of the memory `[B, N, D]`."""
        for layer in self:
            yield layer.cross_attention.project(memory)

    def forward(
        self,
        x: Tensor,
        image: Sequence[KeyValue],
        *,
        turned: Tensor | None,
        caches: Sequence[Filling | Slot] | None = None,
        packing: Packing | None = None,
        need_weights: bool = False,
    ) -> tuple[Tensor, list[Tensor]]:
        """`x` after all layers; arguments as in `DecoderLayer`, of `image` and `caches` an entry a layer.

        Returns:
            The new `x`, and the cross-attention weights of each layer if they were asked for.
        """
        layers = list(enumerate(self))
        weights = []
        for group in [layers] if self.self_attention_first else [[layer] for layer in layers]:
            readings = []
            for index, layer in group:
                cache = None if caches is None else caches[index]
                x, reading = layer.read(x, cache=cache, turned=turned, packing=packing)
                readings.append(reading)
            for (index, layer), reading in zip(group, readings, strict=True):
                x, w = layer.look(x, image[index], reading, packing=packing, need_weights=need_weights)
                if w is not None:
                    weights.append(w)
        return x, weights
