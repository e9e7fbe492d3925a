"""The published model as its paper describes it: every position of every layer, for every anchor and every negative.

It has no parameters of its own: it runs a `CFMR`'s. Tests hold `model.py` against it, benchmarks print the ratio.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cfmr.models.cfmr.batches import Batch
from cfmr.models.cfmr.layout import sinusoids
from cfmr.models.cfmr.pytorch.model import CFMR, Attention, Layer, Outputs, to_concepts
from cfmr.moments.anchors import WEIGHT_FLOOR, anchor_weights, negative_weights, retrieval_anchors, training_widths

MASKED = -1e30


@dataclass
class PlainOutputs:
    """Everything the original computes in a training step. n training anchors, V words, L = W positions."""

    outputs: Outputs
    negative_concepts: Tensor  # 2, B, n, K, d
    text_logits: Tensor  # B, L, V
    anchor_logits: Tensor  # B, n, L, V
    negative_logits: Tensor  # 2, B, n, L, V
    ref_logits: Tensor  # B, L, V


def attend(
    attention: Attention,
    queries: Tensor,
    keys: Tensor,
    *,
    causal: bool = False,
    valid: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """(N, L, d) looks at (N, M, d). `valid` and `weights` are (N, M); the latter multiply the softmax."""
    q = attention.split(attention.project(queries, "q"))
    k, v = (attention.split(x) for x in attention.project(keys, "kv").chunk(2, dim=-1))
    scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5  # N, heads, L, M
    if causal:
        scores = scores + torch.full(scores.shape[-2:], -torch.inf).triu(1)
    if valid is not None:
        scores = scores.masked_fill(~valid[:, None, None], MASKED)
    shares = scores.softmax(-1)
    if weights is not None:
        shares = shares * (weights[:, None, None] + WEIGHT_FLOOR)
        shares = shares / shares.sum(-1, keepdim=True)
    return attention.out_proj((shares @ v).transpose(1, 2).flatten(-2))


def run_layer(layer: Layer, x: Tensor, concepts: Tensor | None = None, **masks: Tensor | None) -> Tensor:
    x = layer.add_attended(x, attend(layer.self_attn, x, x, causal=True, **masks))
    if concepts is not None:
        x = layer.add_crossed(x, attend(layer.encoder_attn, x, concepts))
    return layer.feed_forward(x)


def encode_video(model: CFMR, clips: Tensor, weights: Tensor | None) -> Tensor:
    """Projected clips (B, S, d) under weights (B, A, S) -> concepts (B, A, K, d); without weights A is 1."""
    anchors = 1 if weights is None else weights.shape[1]
    x = clips[:, None].expand(-1, anchors, -1, -1).flatten(0, 1)
    flat = None if weights is None else weights.flatten(0, 1)
    for layer in model.vid_encoder.vid_encoder:
        x = run_layer(layer, x, weights=flat)
    return to_concepts(model.vid_encoder.vid_necks, x[:, -1]).unflatten(0, (len(clips), anchors))


def encode_text(model: CFMR, words: Tensor, valid: Tensor) -> Tensor:
    """Projected sequences (B, W + 2, d) -> concepts (B, K, d)."""
    for layer in model.txt_encoder.txt_encoder:
        words = run_layer(layer, words, valid=valid)
    return to_concepts(model.txt_encoder.txt_necks, words[:, -1])


def text_sequence(model: CFMR, words: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Start vector, words, prediction vector at the last index: (B, W + 2, word_dim); which positions count."""
    ends = torch.ones(len(words), 1, 1)
    sequence = torch.cat([ends * model.start_vec, words, ends * model.txt_pred_vec], dim=1)
    position = torch.arange(sequence.shape[1])
    return sequence, (position <= lengths[:, None]) | (position == position[-1])


def encode_video_offline(model: CFMR, clips: Tensor) -> Tensor:
    """All F clips (B, F, frame_dim) -> concepts (B, A, K, d) of the retrieval anchors."""
    centres, widths = retrieval_anchors(model.sizes)
    weights = torch.from_numpy(anchor_weights(centres, widths, model.sizes.sigma, model.positions))
    projected = model.project_clips(clips)[:, model.kept_clips]
    return encode_video(model, projected, weights.expand(len(clips), -1, -1))


def encode_text_online(model: CFMR, words: Tensor, lengths: Tensor) -> Tensor:
    """Word vectors (B, W, word_dim) -> concepts (B, K, d)."""
    sequence, valid = text_sequence(model, words, lengths)
    return encode_text(model, model.project_words(sequence), valid)


def forward(model: CFMR, batch: Batch, progress: float) -> PlainOutputs:
    """A training step's outputs, as `CFMR.forward`, with nothing left out."""
    clips = model.project_clips(torch.from_numpy(batch.clips))
    lengths = torch.from_numpy(batch.lengths)
    sequence, valid = text_sequence(model, torch.from_numpy(batch.words), lengths)
    words = model.project_words(sequence)
    text = encode_text(model, words, valid)

    centres, widths = np.broadcast_arrays(batch.glances[:, None], training_widths(model.sizes))
    sizes, positions = model.sizes, model.positions
    anchors = encode_video(model, clips, torch.from_numpy(anchor_weights(centres, widths, sizes.sigma, positions)))
    sides = negative_weights(centres, widths, sizes, positions, progress)
    negatives = torch.stack([encode_video(model, clips, torch.from_numpy(side)) for side in sides])
    ref = encode_video(model, clips, None)[:, 0]

    count = batch.word_ids.shape[1]
    masked = torch.from_numpy(np.pad(batch.masked, ((0, 0), (1, 1))))
    inputs = torch.where(masked[..., None], model.word_fc(model.mask_vec), words)
    inputs = (inputs + torch.from_numpy(sinusoids(count + 2, words.shape[-1])))[:, :count]
    position_counts = torch.arange(count) <= lengths[:, None]  # B, L

    def logits(concepts: Tensor) -> Tensor:
        """Concepts (B, m, K, d) -> (B, m, L, V)."""
        number = concepts.shape[1]
        x = inputs[:, None].expand(-1, number, -1, -1).flatten(0, 1)
        rows = position_counts[:, None].expand(-1, number, -1).flatten(0, 1)
        for layer in model.cross_decoder.decoder:
            x = run_layer(layer, x, concepts.flatten(0, 1), valid=rows)
        return model.fc_comp(x).unflatten(0, (-1, number))

    ids = torch.from_numpy(batch.word_ids)

    def nll(values: Tensor) -> Tensor:
        """(B, m, L, V) -> (m, B)."""
        logp = values.log_softmax(-1)
        chosen = -logp.gather(-1, ids[:, None, :, None].expand(*values.shape[:-1], 1))[..., 0]
        loss = 0.9 * chosen - 0.1 * logp.mean(-1)
        share = position_counts[:, None] / position_counts.sum(-1)[:, None, None]
        return (loss * share).sum(-1).T

    text_logits, anchor_logits = logits(text[:, None]), logits(anchors)
    negative_logits, ref_logits = torch.stack([logits(side) for side in negatives]), logits(ref[:, None])
    anchor_nll = nll(anchor_logits)
    best = anchor_nll.argmin(0)
    rows = torch.arange(len(best))
    use_ref = model.use_ref
    outputs = Outputs(
        anchor_concepts=anchors,
        text_concepts=text,
        anchor_nll=anchor_nll,
        text_nll=nll(text_logits)[0],
        best=best,
        negative_concepts=negatives[:, rows, best],
        negative_nll=torch.stack([nll(side)[best, rows] for side in negative_logits]),
        ref_concepts=ref if use_ref else None,
        ref_nll=nll(ref_logits)[0] if use_ref else None,
    )
    return PlainOutputs(outputs, negatives, text_logits[:, 0], anchor_logits, negative_logits, ref_logits[:, 0])


def similarity(video: Tensor, text: Tensor) -> Tensor:
    """Sum over concepts of cosines: (A, K, d), (K, d) -> (A,) (Method, Retrieval)."""
    return F.cosine_similarity(video, text, dim=-1).sum(-1)
