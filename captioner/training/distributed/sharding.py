"""How is a model split over processes? Each keeps a part of every weight, and asks for the rest when it is needed.

FSDP2: weights, their gradients and the optimizer's state are split; a piece of the model is put together for its turn
in the forward and backward pass, and its gradients are averaged over the processes while they are split again. The
memory of a process is its part, and the largest piece.

Sources: Zhao et al. 2023, "PyTorch FSDP: experiences on scaling fully sharded data parallel"; Rajbhandari et al. 2020,
"ZeRO" (the idea).
"""

from __future__ import annotations

from collections import Counter

from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from captioner.models.captioner import Captioner
from captioner.models.linear import forget_copies
from captioner.training.distributed.batch_norms import SynchronisedBatchNorms

_LEAST = 1 / 200  # of the encoder's weights: gathering a smaller piece on its own takes longer than it spares


def shard(captioner: Captioner, mesh: DeviceMesh) -> None:
    """Split all weights that are trained over the processes of `mesh`. Done once; again, it changes nothing.

    Pieces are the encoder's blocks, what else the encoder has, the bridge, and the decoder. The decoder is one: it is
    small beside an encoder that needs splitting, and its layers are called in more ways than by `forward`. What is
    frozen stays whole: it has no gradients and no optimizer's state.

    Batch norms that are trained see the images of all processes, where they can: on GPUs.

    Args:
        captioner: Equal in all processes.
        mesh: Of one dimension.
    """
    if isinstance(captioner.decoder, FSDPModule):
        return
    if mesh.device_type == "cuda":
        SynchronisedBatchNorms().apply(captioner.encoder)
    for parameter in captioner.parameters():
        if not parameter.numel():  # positions of prefix tokens where there are none
            parameter.requires_grad_(False)
        if parameter.requires_grad:
            parameter.data = parameter.data.contiguous()  # channels_last cannot be split
    frozen = {parameter for parameter in captioner.parameters() if not parameter.requires_grad}
    pieces = [*blocks(captioner.encoder), captioner.encoder, captioner.bridge, captioner.decoder]
    for piece in pieces:
        if any(parameter.requires_grad for parameter in piece.parameters()):
            fully_shard(piece, mesh=mesh, ignored_params=frozen)


def blocks(encoder: nn.Module) -> list[nn.Module]:
    """What an encoder repeats: the innermost modules beside others of their class in a sequence, if large enough."""
    least = _LEAST * _size(encoder)

    def within(module: nn.Module) -> list[nn.Module]:
        alike = Counter(type(child) for child in module.children())
        sequence = isinstance(module, nn.Sequential | nn.ModuleList)
        found = []
        for child in module.children():
            inner = within(child)
            if not inner and sequence and alike[type(child)] > 1 and _size(child) >= least:
                inner = [child] if any(child.children()) else []
            found += inner
        return found

    return within(encoder)


def gather_decoder(captioner: Captioner) -> None:
    """Put the decoder together for a training step, where it is split: objectives call more of it than `forward`.

    The backward pass splits it again.
    """
    if isinstance(captioner.decoder, FSDPModule):
        captioner.decoder.unshard()
        # The weights are new in the same tensors, whose version does not tell.
        forget_copies(captioner.decoder)


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
