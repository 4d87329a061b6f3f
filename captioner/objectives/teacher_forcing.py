"""What is learned from captions that people wrote? Cross-entropy, and what is asked of attention and logits beside it.

    loss = cross-entropy + λ doubly stochastic + λ attention supervision + λ looking + λ z-loss

and for a decoder with hard attention λ REINFORCE - λ entropy.

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
from captioner.objectives.scheduled_sampling import ScheduledSampling, with_own_words
from captioner.objectives.z_loss import z_loss


class TeacherForcing:
    """A weighted sum of terms; a term of weight 0 is not computed.

    Args:
        label_smoothing: Of the cross-entropy, 0 to below 1.
        doubly_stochastic: Weight of the doubly stochastic regularisation; 1 in the paper.
        attention_supervision: Weight of attention supervision; the dataset must know boxes.
        image_attention_penalty: Weight (nats) at the end of training of the penalty on image-attention mass; a token
            avoids it by attending to a visual sentinel or to nothing.
        z_loss: Weight of the z-loss; 1e-4 in the paper.
        reinforce: Weight of REINFORCE, by which hard attention learns where to look; 1 is the gradient itself.
        entropy: Weight of the entropy of hard attention, which keeps it trying places.
        scheduled_sampling: Share of the words read that the model wrote itself, at the end of training.
        sampling_schedule: How it grows: one of `scheduled_sampling.SCHEDULES`.

    Raises:
        UsageError: If a weight is negative, or a share or the schedule cannot be.
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
                raise UsageError(f"objective.{name}={weight} must be a number from 0; 0 leaves it out")
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

    def prepare(self, course: TrainingContext) -> None:
        """Find the boxes, where a term needs them.

        Raises:
            DataError: If no training image has a caption.
            UsageError: If boxes are needed and images are varied, or looking has a price that no word can spare.
        """
        if not any(course.train_set[i].captions for i in range(len(course.train_set))):
            raise DataError(
                f"none of the {len(course.train_set):,} training images has a caption to learn from; "
                "check the caption file, or take another dataset"
            )
        self._special = course.special
        decoder = course.captioner.decoder
        if self.image_attention_penalty and (not decoder.may_look_away or getattr(decoder, "hard", False)):
            raise UsageError(
                f"objective.image_attention_penalty={self.image_attention_penalty} penalises attention to the image, "
                "and this decoder can attend to nothing else; set model.decoder.sentinel=true without hard "
                "attention, or objective.image_attention_penalty=0"
            )
        if not self.attention_supervision:
            return
        if course.augmented:
            raise UsageError(
                "objective.attention_supervision needs boxes to stay where they are, and image.augment moves pixels; "
                "set image.augment=null"
            )
        encoder = course.captioner.encoder
        self._regions = TokenRegions(
            course.train_set,
            tokenizer=course.tokenizer,
            transform=course.transform,
            grid=encoder.grid,
            cells=encoder.cells,
        )

    def __call__(self, captioner: Captioner, lesson: TrainingStep) -> Losses:
        """The terms of one step: a teacher-forced pass over the captions of the batch."""
        assert self._special is not None, "prepare comes first"
        tokens = lesson.batch.tokens
        memory = captioner.encode(lesson.batch.images)
        inputs, targets = tokens[:, :, :-1], tokens[:, :, 1:]
        shown = {}
        if share := self.scheduled_sampling.share(lesson.progress):
            with torch.no_grad():
                logits = captioner.decoder(inputs, memory.features).logits
            # Autocast keeps the weights it has cast, here without their gradients.
            torch.clear_autocast_cache()
            inputs = with_own_words(inputs, logits, share=share, special=self._special)
            shown["own_words"] = torch.tensor(share)
        real = None
        price = self.image_attention_penalty * lesson.progress
        needs_attention = self.doubly_stochastic > 0 or self.attention_supervision > 0 or price > 0
        if not needs_attention and not getattr(captioner.decoder, "hard", False):
            real = (
                targets != self._special.pad
            )  # nothing asks for the whole rectangle, so padding is left out
            targets = targets[real]
        output = captioner.decoder(inputs, memory.features, need_weights=needs_attention, real=real)
        terms = self.terms(
            output.logits,
            targets,
            pad_id=self._special.pad,
            # A sentinel stands before the image's tokens.
            attention=output.cross_attention[..., -memory.features.shape[1] :] if needs_attention else None,
            num_prefix=memory.num_prefix,
            price=price,
            regions=self._regions(lesson.batch.indices, targets) if self._regions else None,
            choice=output.choice,
        )
        words = (targets != self._special.pad).sum()
        return Losses(terms, shown, dict.fromkeys(terms, words))

    def terms(
        self,
        logits: Tensor,
        targets: Tensor,
        *,
        pad_id: int,
        attention: Tensor | None = None,
        num_prefix: int = 0,
        price: float = 0.0,
        regions: Tensor | None = None,
        choice: Choice | None = None,
    ) -> dict[str, Tensor]:
        """The terms, weighted; their sum is the loss.

        Args:
            logits: `[B, C, L, V]`, the predictions of each target; or `[M, V]` without the padding.
            targets: int64 `[B, C, L]`, or `[M]`; `pad_id` is ignored.
            pad_id: The padding.
            attention: `[B, C, L, layers, H, N]`, the cross-attention on all image tokens; where a term needs it.
            num_prefix: Image tokens before the grid, which are no places.
            price: Weight of looking at this step.
            regions: `[B, C, L, N]` in 0–1: where on the grid what a target names is; where a term needs them.
            choice: What hard attention drew.

        Raises:
            UsageError: If attention supervision has no regions, or a term on attention meets hard attention.
        """
        terms = {"cross_entropy": self.cross_entropy(logits, targets, pad_id=pad_id)}
        real = targets != pad_id
        if choice is not None:
            if attention is not None:
                raise UsageError(
                    "hard attention draws its places, which no penalty on them can move; "
                    "set objective.doubly_stochastic=0 and objective.attention_supervision=0, "
                    "or model.decoder.hard=false"
                )
            terms["reinforce"] = self.reinforce * reinforce(logits, targets, choice, real)
            terms["entropy"] = -self.entropy * mean_entropy(choice, real)
        places = None if attention is None else attention[..., num_prefix:]
        if self.doubly_stochastic:
            assert places is not None
            terms["doubly_stochastic"] = self.doubly_stochastic * doubly_stochastic(places, real)
        if self.attention_supervision:
            assert places is not None
            if regions is None:
                raise UsageError(
                    f"objective.attention_supervision={self.attention_supervision} needs boxes, and this dataset "
                    "has none; take data=scenes, or objective.attention_supervision=0"
                )
            terms["attention_supervision"] = self.attention_supervision * attention_supervision(
                places, regions
            )
        if price:
            assert attention is not None
            terms["image_attention_penalty"] = price * image_attention_penalty(attention, real)
        if self.z_loss:
            terms["z_loss"] = self.z_loss * z_loss(logits, real)
        return terms
