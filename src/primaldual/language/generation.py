"""Draw tokens from a decoder, one at a time, with its decoding states."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from primaldual.errors import ArgumentError
from primaldual.kernels.arguments import is_number, is_whole, shown, whole
from primaldual.models import Decoder


def generate_tokens(
    decoder: Decoder,
    prompt: Tensor,
    length: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    seed: int = 0,
) -> Iterator[int]:
    """Continue a prompt.

    Every token is drawn from softmax(logits / temperature), of which with ``top_k`` only the largest logits stay. The
    decoder sees its ``context`` last tokens at most: a longer prompt is cut to them, and where the context is full, the
    later half of it is read again as a new beginning.

    Args:
        decoder: in evaluation mode.
        prompt: int (tokens,), 1 or more.
        length: how many tokens to draw.
        temperature: 0 takes the likeliest token.
        top_k: tokens to choose from; None = all.
        seed: of the draws; the caller's generators stay as they are.

    Raises:
        ArgumentError: an empty prompt, tokens that the decoder does not know, or a value out of range.

    Example:
        >>> decoder = Decoder(vocabulary=9, context=4, embed_dim=4, num_heads=1, num_layers=1).eval()
        >>> len(list(generate_tokens(decoder, torch.tensor([1]), length=10)))
        10
    """
    if not isinstance(prompt, Tensor) or prompt.dim() != 1:
        given = f"shape {tuple(prompt.shape)}" if isinstance(prompt, Tensor) else type(prompt).__name__
        raise ArgumentError(f"prompt must be a tensor (tokens,); got {given}")
    if not len(prompt):
        raise ArgumentError("prompt must have one token or more; got none")
    vocabulary = decoder.tokens.num_embeddings
    if prompt.is_floating_point() or not 0 <= int(prompt.min()) <= int(prompt.max()) < vocabulary:
        raise ArgumentError(
            f"prompt must be integers from 0 to {vocabulary - 1}; got {prompt.dtype} from {prompt.min()} to {prompt.max()}"
        )
    whole("length", length)
    if not (is_number(temperature) and 0 <= temperature < float("inf")):
        raise ArgumentError(f"temperature must be a finite number of at least 0; got {shown(temperature)}")
    if top_k is not None:
        whole("top_k", top_k, 1)
    if not is_whole(seed, -(2**63), 2**64 - 1):
        raise ArgumentError(f"seed must be an integer of 64 bits at most; got {shown(seed)}")
    return _drawn(decoder, prompt, length, temperature, top_k, seed)


def _drawn(
    decoder: Decoder, prompt: Tensor, length: int, temperature: float, top_k: int | None, seed: int
) -> Iterator[int]:
    device = decoder.positions.device
    generator = torch.Generator().manual_seed(seed)
    seen = prompt[-decoder.context :].tolist()
    state, fresh = decoder.init_state(batch=1), seen
    for _ in range(length):
        if state.length + len(fresh) > decoder.context:
            seen = seen[-max(decoder.context // 2, 1) :]
            state, fresh = decoder.init_state(batch=1), seen
        logits = decoder.step(state, torch.tensor([fresh], device=device))[0, -1]
        token = draw(logits.float().cpu(), temperature, top_k, generator)
        yield token
        fresh = [token]
        seen.append(token)


def draw(logits: Tensor, temperature: float, top_k: int | None, generator: torch.Generator) -> int:
    """One token from logits (vocabulary,).

    Raises:
        ArgumentError: NaN, as a decoder gives whose training diverged.
    """
    if bool(logits.isnan().any()):
        raise ArgumentError("decoder must give logits that are numbers; got NaN")
    if temperature == 0:
        return int(logits.argmax())
    if top_k is not None and top_k < len(logits):
        values, kept = logits.topk(top_k)
        logits = torch.full_like(logits, float("-inf")).scatter(0, kept, values)
    # A smaller temperature would be 0 in the type of the logits.
    shares = ((logits - logits.max()) / max(temperature, torch.finfo(logits.dtype).tiny)).softmax(-1)
    return int(torch.multinomial(shares, 1, generator=generator))
