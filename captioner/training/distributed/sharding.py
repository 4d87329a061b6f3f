"""Weight sharding over processes with FSDP2.

Weights, gradients and the optimizer's state are sharded; each unit of the model is gathered for its forward and
backward pass, and its gradients are averaged over the processes while they are sharded again. The memory of a process
is its shard plus the largest unit.

Sources: Zhao et al. 2023, "PyTorch FSDP: experiences on scaling fully sharded data parallel"; Rajbhandari et al. 2020,
"ZeRO".
"""

from __future__ import annotations

from collections import Counter

from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from captioner.models.captioner import Captioner
from captioner.training.distributed.batch_norms import SynchronisedBatchNorms

_MIN_UNIT = 1 / 200  # of the encoder's weights: gathering a smaller unit costs more time than it saves memory


def shard(captioner: Captioner, mesh: DeviceMesh) -> None:
    """Shard all trained weights over the processes of `mesh`; a second call changes nothing.

    Units are the encoder's blocks, the rest of the encoder, the bridge, and the decoder. The decoder is a single unit:
    it is small compared with an encoder that needs sharding, and its layers are called by other methods than
    `forward`. Frozen weights are not sharded: they have neither gradients nor an optimizer state.

    On GPUs, trained batch norms are synchronised.

    Args:
        captioner: Equal in all processes.
        mesh: A one-dimensional mesh.
    """
    if isinstance(captioner.decoder, FSDPModule):
        return
    if mesh.device_type == "cuda":
        SynchronisedBatchNorms().apply(captioner.encoder)
    for parameter in captioner.parameters():
        if not parameter.numel():  # positions of prefix tokens in an encoder without any
            parameter.requires_grad_(False)
        if parameter.requires_grad:
            parameter.data = parameter.data.contiguous()  # FSDP2 cannot shard channels_last
    frozen = {parameter for parameter in captioner.parameters() if not parameter.requires_grad}
    units = [*repeated_blocks(captioner.encoder), captioner.encoder, captioner.bridge, captioner.decoder]
    for unit in units:
        if any(parameter.requires_grad for parameter in unit.parameters()):
            fully_shard(unit, mesh=mesh, ignored_params=frozen)


def repeated_blocks(encoder: nn.Module) -> list[nn.Module]:
    """The innermost modules that stand beside others of their class in a sequence, if large enough."""
    min_size = _MIN_UNIT * _size(encoder)

    def within(module: nn.Module) -> list[nn.Module]:
        of_class = Counter(type(child) for child in module.children())
        is_sequence = isinstance(module, nn.Sequential | nn.ModuleList)
        blocks = []
        for child in module.children():
            inner = within(child)
            if not inner and is_sequence and of_class[type(child)] > 1 and _size(child) >= min_size:
                inner = [child] if any(child.children()) else []
            blocks += inner
        return blocks

    return within(encoder)


def gather_decoder(captioner: Captioner) -> None:
    """Gather a sharded decoder for a training step, since objectives call more methods of it than `forward`.

    The backward pass shards it again.
    """
    if isinstance(captioner.decoder, FSDPModule):
        captioner.decoder.unshard()


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
