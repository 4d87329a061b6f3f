from __future__ import annotations

import pytest
import torch

from captioner.decoding import make_search
from captioner.decoding.hypotheses import special_tokens
from captioner.explain.teacher_forcing import full_precision, teacher_force, token_logprobs
from captioner.models.captioner import Captioner
from captioner.models.decoders.transformer import TransformerDecoder
from captioner.models.encoders.encoder import ImageEncoder
from captioner.text.tokenizer import Tokenizer
from tests.explain.conftest import SPECIAL, captioned, images


@pytest.fixture(scope="module")
def pieces() -> Tokenizer:
    return Tokenizer.train(["a red dog runs", "two cats sit on the mat"] * 3, kind="bpe", vocab_size=275)


@pytest.mark.parametrize("beam_size", [1, 4])
@pytest.mark.parametrize("sentinel", [False, True])
def test_log_probabilities_equal_the_searchs_for_pieces_of_words_too(
    pieces: Tokenizer, beam_size: int, sentinel: bool
) -> None:
    torch.manual_seed(3)
    decoder = TransformerDecoder(
        pieces.vocab_size, 16, depth=2, num_heads=2, max_length=14, sentinel=sentinel
    )
    captioner = Captioner(ImageEncoder("resnet10t", (32, 48), level=2), decoder).eval()
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.normal_(std=0.5)
        memory = captioner.encode(images(5))
    special = special_tokens(pieces)
    found = make_search(beam_size, max_length=12)(decoder, memory.features, special)
    forced = teacher_force(captioner, memory, found.tokens, special)
    torch.testing.assert_close(forced.token_logprobs, found.token_logprobs, atol=1e-4, rtol=0)
    again = token_logprobs(captioner, memory.features, found.tokens, special)
    torch.testing.assert_close(again, found.token_logprobs, atol=1e-4, rtol=0)
    assert int((found.tokens != special.pad).sum(dim=-1).max()) > 2


def test_logits_stand_in_the_place_of_their_token(cnn: Captioner) -> None:
    batch = captioned(cnn)
    logprobs = batch.forced.logits.log_softmax(dim=-1)[:, 0]
    for b, caption in enumerate(batch.tokens.tolist()):
        for place, token in enumerate(caption):
            found = float(batch.forced.token_logprobs[b, 0, place])
            assert found == (
                0.0 if token == SPECIAL.pad else pytest.approx(float(logprobs[b, place, token]), abs=1e-5)
            )


def test_full_precision_within_what_the_caller_set() -> None:
    x, weight = torch.randn(4, 4), torch.randn(4, 4, requires_grad=True)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert (x @ weight).dtype == torch.bfloat16
        with full_precision(x.device, gradients=True):
            out = x @ weight
            assert out.dtype == torch.float32
            assert out.requires_grad
        with full_precision(x.device):
            assert not (x @ weight).requires_grad
        assert (x @ weight).dtype == torch.bfloat16
        assert torch.is_inference_mode_enabled()
