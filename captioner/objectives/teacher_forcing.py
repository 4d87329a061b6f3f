"""Teacher forcing: cross-entropy of reference captions, with optional terms on attention and logits.

    loss = cross-entropy + λ doubly stochastic + λ attention supervision + λ image-attention penalty + λ z-loss

and for a decoder with hard attention + λ REINFORCE - λ entropy.

Axis letters: `B` images, `C` captions per image, `L` tokens, `H` heads, `N` image tokens, `V` vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor

from captioner.data.annotations.token_regions import TokenRegions
from captioner.decoding import SpecialTokens
from captioner.errors import DataError, UsageError
from captioner.models.captioner import Captioner
from captioner.models.decoders.decoder_output import Choice
from captioner.objectives.attention_supervision import attention_supervision
from captioner.objectives.cross_entropy import CrossEntropy
from captioner.objectives.doubly_stochastic import doubly_stochastic
from captioner.objectives.image_attention_penalty import image_attention_penalty
from captioner.objectives.objective import Losses, TrainingContext, TrainingStep
from captioner.objectives.reinforce import mean_entropy, reinforce
from captioner.objectives.scheduled_sampling import ScheduledSampling, replace_by_samples
from captioner.objectives.z_loss import z_loss


class TeacherForcing:
    """A weighted sum of terms; a term of weight 0 is not computed.

    Args:
        label_smoothing: Label smoothing of the cross-entropy, in [0, 1).
        doubly_stochastic: Weight of the doubly stochastic regularisation; 1 in the paper.
        attention_supervision: Weight of attention supervision; the dataset must have boxes.
        image_attention_penalty: Final weight (nats) of the penalty on image-attention mass; the decoder must be able to
            attend to a visual sentinel or to nothing.
        z_loss: Weight of the z-loss; 1e-4 in the paper.
        reinforce: Weight of REINFORCE, which trains hard attention; 1 is the unscaled gradient.
        entropy: Weight of the entropy bonus of hard attention, which keeps it exploring.
        scheduled_sampling: Fraction of input tokens sampled from the model, at the end of training.
        sampling_schedule: How that fraction grows: one of `scheduled_sampling.SCHEDULES`.

    Raises:
        UsageError: If a weight or fraction is out of range, or the schedule is unknown.
    """

    def __init__(
        self,
        *,
        label_smoothing: float = 0.0,
        doubly_stochastic: float = 0.0,
        attention_supervision: float = 0.0,
        image_attention_penalty: float = 0.0,
        z_loss: float = 0.0,
        reinforce: float = 1.0,
        entropy: float = 0.01,
        scheduled_sampling: float = 0.0,
        sampling_schedule: str = "linear",
    ) -> None:
        for name, weight in (
            ("doubly_stochastic", doubly_stochastic),
            ("attention_supervision", attention_supervision),
            ("image_attention_penalty", image_attention_penalty),
            ("z_loss", z_loss),
            ("reinforce", reinforce),
            ("entropy", entropy),
        ):
            if not 0 <= weight < float("inf"):
                raise UsageError(
                    f"objective.{name}={weight} must be a finite number of at least 0; 0 turns the term off"
                )
        self.cross_entropy = CrossEntropy(label_smoothing=label_smoothing)
        self.doubly_stochastic = doubly_stochastic
        self.attention_supervision = attention_supervision
        self.image_attention_penalty = image_attention_penalty
        self.z_loss = z_loss
        self.reinforce = reinforce
        self.entropy = entropy
        self.scheduled_sampling = ScheduledSampling(scheduled_sampling, schedule=sampling_schedule)
        self._special: SpecialTokens | None = None
        self._regions: TokenRegions | None = None

    def prepare(self, context: TrainingContext) -> None:
        """Collect the boxes, where attention supervision needs them.

        Raises:
            DataError: If no training image has a caption.
            UsageError: If boxes are needed and images are augmented, or image attention is penalised in a decoder that
                can attend to nothing else.
        """
        if not any(context.train_set[i].captions for i in range(len(context.train_set))):
            raise DataError(
                f"none of the {len(context.train_set):,} training images has a caption; "
                "check the caption file or data.root"
            )
        self._special = context.special
        decoder = context.captioner.decoder
        if self.image_attention_penalty and (not decoder.partial_attention or decoder.hard):
            raise UsageError(
                f"objective.image_attention_penalty={self.image_attention_penalty} penalises attention to the image, "
                "and this decoder can attend to nothing else; set model.decoder.sentinel=true without hard "
                "attention, or objective.image_attention_penalty=0"
            )
        if not self.attention_supervision:
            return
        if context.augmented:
            raise UsageError(
                "objective.attention_supervision needs boxes, which image.augment would displace; "
                "set image.augment=null, or objective.attention_supervision=0"
            )
        encoder = context.captioner.encoder
        self._regions = TokenRegions(
            context.train_set,
            tokenizer=context.tokenizer,
            transform=context.transform,
            grid=encoder.grid,
            cells=encoder.cells,
        )

    def __call__(self, captioner: Captioner, step: TrainingStep) -> Losses:
        """The terms of one step, from a teacher-forced pass over the captions of the batch."""
        assert self._special is not None, "call prepare first"
        tokens = step.batch.tokens
        memory = captioner.encode(step.batch.images)
        inputs, targets = tokens[:, :, :-1], tokens[:, :, 1:]
        metrics = {}
        if fraction := self.scheduled_sampling.fraction(step.progress):
            with torch.no_grad():
                logits = captioner.decoder(inputs, memory.features).logits
            # Autocast caches cast weights, here without gradients; the next pass needs gradients.
            torch.clear_autocast_cache()
            inputs = replace_by_samples(inputs, logits, fraction=fraction, special=self._special)
            metrics["sampled_inputs"] = torch.tensor(fraction)
        real = None
        penalty = self.image_attention_penalty * step.progress
        needs_attention = self.doubly_stochastic > 0 or self.attention_supervision > 0 or penalty > 0
        if not needs_attention and not captioner.decoder.hard:
            # No term needs the padded layout, so logits are computed for real tokens only: [B, C, L] -> [M]
            real = targets != self._special.pad
            targets = targets[real]
        output = captioner.decoder(inputs, memory.features, need_weights=needs_attention, real=real)
        terms = self.terms(
            output.logits,
            targets,
            pad_id=self._special.pad,
            # A sentinel precedes the image tokens.
            attention=None
            if output.cross_attention is None
            else output.cross_attention[..., -memory.features.shape[1] :],
            num_prefix=memory.num_prefix,
            penalty=penalty,
            regions=self._regions(step.batch.indices, targets) if self._regions else None,
            choice=output.choice,
        )
        count = (targets != self._special.pad).sum()
        return Losses(terms, metrics, dict.fromkeys(terms, count))

    def terms(
        self,
        logits: Tensor,
        targets: Tensor,
        *,
        pad_id: int,
        attention: Tensor | None = None,
        num_prefix: int = 0,
        penalty: float = 0.0,
        regions: Tensor | None = None,
        choice: Choice | None = None,
    ) -> dict[str, Tensor]:
        """The weighted terms; their sum is the loss.

        Args:
            logits: `[B, C, L, V]`, the prediction of each target; or `[M, V]` without padding.
            targets: int64 `[B, C, L]`, or `[M]`; `pad_id` is ignored.
            pad_id: Id of the padding token.
            attention: `[B, C, L, layers, H, N]`, the cross-attention on all image tokens; where a term needs it.
            num_prefix: Number of image tokens before the grid.
            penalty: Weight of the image-attention penalty at this step.
            regions: `[B, C, L, N]` in [0, 1]: the grid cells of what each target names; where a term needs them.
            choice: The cells that hard attention sampled.

        Raises:
            UsageError: If attention supervision has no regions, or a term on attention meets hard attention.
        """
        terms = {"cross_entropy": self.cross_entropy(logits, targets, pad_id=pad_id)}
        real = targets != pad_id
        if choice is not None:
            if attention is not None:
                raise UsageError(
                    "hard attention is sampled, so terms on attention weights have no gradient; "
                    "set objective.doubly_stochastic=0 and objective.attention_supervision=0, "
                    "or model.decoder.hard=false"
                )
            terms["reinforce"] = self.reinforce * reinforce(logits, targets, choice, real)
            terms["entropy"] = -self.entropy * mean_entropy(choice, real)
        on_grid = None if attention is None else attention[..., num_prefix:]
        if self.doubly_stochastic:
            assert on_grid is not None
            terms["doubly_stochastic"] = self.doubly_stochastic * doubly_stochastic(on_grid, real)
        if self.attention_supervision:
            assert on_grid is not None
            if regions is None:
                raise UsageError(
                    f"objective.attention_supervision={self.attention_supervision} needs boxes, and this dataset "
                    "has none; set data=scenes, or objective.attention_supervision=0"
                )
            terms["attention_supervision"] = self.attention_supervision * attention_supervision(
                on_grid, regions
            )
        if penalty:
            assert attention is not None
            terms["image_attention_penalty"] = penalty * image_attention_penalty(attention, real)
        if self.z_loss:
            terms["z_loss"] = self.z_loss * z_loss(logits, real)
        return terms
