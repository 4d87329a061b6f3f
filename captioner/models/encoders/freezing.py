"""Partially trainable networks: which parameters are trained, and which modules compute as in evaluation.

Layers are taken in order of definition, which for timm's models is the order of computation.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from captioner.errors import UsageError, did_you_mean


def freeze(model: nn.Module, trainable: str, *, name: str) -> None:
    """Train a layer and all after it; freeze what lies before.

    Args:
        model: The network.
        trainable: "all", "none", or the name of a layer or parameter.
        name: The network's name, for the message.

    Raises:
        UsageError: If there is no such layer.
    """
    names = [parameter for parameter, _ in model.named_parameters()]
    if trainable == "all":
        first = 0
    elif trainable == "none":
        first = len(names)
    else:
        of_layer = [
            i
            for i, parameter in enumerate(names)
            if parameter == trainable or parameter.startswith(trainable + ".")
        ]
        if not of_layer:
            layers = list(dict.fromkeys(parameter.split(".")[0] for parameter in names))
            raise UsageError(
                f"encoder.trainable={trainable!r} is neither 'all' nor 'none' nor a layer of {name}; "
                f"its layers are {', '.join(layers)}{did_you_mean(trainable, [*layers, 'all', 'none'])}"
            )
        first = of_layer[0]
    for i, parameter in enumerate(model.parameters()):
        parameter.requires_grad_(i >= first)


def freeze_unreached(model: nn.Module, output: Tensor) -> None:
    """Freeze the parameters that do not influence `output`, such as those of a pooling head.

    Training in several processes stops at a parameter that gets no gradient.
    """
    reached, seen, waiting = set(), set(), [output.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            reached.add(id(getattr(node, "variable", None)))
            waiting += [before for before, _ in node.next_functions]
    for parameter in model.parameters():
        parameter.requires_grad_(parameter.requires_grad and id(parameter) in reached)


def evaluate_frozen(model: nn.Module) -> None:
    """Put the frozen part of a network that is being trained into evaluation mode.

    There, dropout and stochastic depth drop nothing and batch norms keep their running statistics. A module is frozen
    if it has parameters and none of them is trained. A module without parameters belongs to the module it is part of;
    where that is frozen in part, it is frozen if it comes before the first trained parameter.
    """
    if not any(parameter.requires_grad for parameter in model.parameters()):
        model.eval()
        return
    _evaluate_children(model)
    for module in model.modules():
        if isinstance(module, _BatchNorm) and not any(p.requires_grad for p in module.parameters()):
            module.eval()


def _evaluate_children(module: nn.Module) -> None:
    """As `evaluate_frozen`, for a module that is trained at least in part."""
    if all(parameter.requires_grad for parameter in module.parameters()):
        return
    before = not any(parameter.requires_grad for parameter in module.parameters(recurse=False))
    for child in module.children():
        trained = [parameter.requires_grad for parameter in child.parameters()]
        if any(trained):
            before = False
            _evaluate_children(child)
        elif trained or before:
            child.eval()
