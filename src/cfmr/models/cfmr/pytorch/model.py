"""The published model, CFMR, computing only what is read (Method, Video concepts to Semantic reconstructor).

Four observations save most of the arithmetic and change no result; `reference.py` is the same model without them.

Where windows and packed sentences lie is worked out in numpy, see `layout.py`.

* Only the last position of an encoder is read, so its last layer computes one query; the maps to keys and values are
  applied to that query and to what it mixes, instead of to every position.
* A clip far outside an anchor's bell has no weight in any layer, so only the window around the bell is computed.
  The first layer's projections do not depend on the anchor and are shared.
* Linear layers do not care which window a position belongs to, so they see the positions of all windows at once.
* A sentence's padding is never read, so linear layers see the words that exist, one after the other.

Shapes: B batch, A anchors, S = T + 1 positions of a video, P positions of a window, W words, K concepts, d width.
"""

from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from cfmr.config import CFMRConfig, CFMRSizes, Transformers
from cfmr.data.features import pool_clips
from cfmr.models.cfmr import layout, losses
from cfmr.models.cfmr.batches import Batch
from cfmr.models.cfmr.layout import Ints, causal_bias, other_weights, sinusoids
from cfmr.moments.anchors import (
    Array,
    anchor_weights,
    kept_clips,
    num_positions,
    retrieval_anchors,
    spans,
    training_widths,
)

WINDOW_STEP = 3  # windows attend in groups whose lengths differ by less than this
Outputs = losses.Outputs[Tensor, Tensor]


def to_tensor(array: NDArray[Any], device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device)


class Attention(nn.Module):
    """Parameters of a multi-head attention under the names of the original's checkpoints."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.xavier_uniform_(self.out_proj.weight)
        nn.init.zeros_(self.out_proj.bias)

    def project(self, x: Tensor, what: str) -> Tensor:
        """Linear maps to queries ("q"), keys and values ("kv") or all three ("qkv"), side by side."""
        width = x.shape[-1]
        rows = {"q": slice(0, width), "kv": slice(width, None), "qkv": slice(None)}[what]
        return F.linear(x, self.in_proj_weight[rows], self.in_proj_bias[rows])

    def split(self, x: Tensor) -> Tensor:
        """(..., L, d) -> (..., heads, L, d / heads)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(-2, -3)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
        """Attend. q (..., L, d), k and v (..., M, d), bias broadcast to (..., heads, L, M) -> (..., L, d)."""
        return self.out_proj(self.mix(q, k, v, bias))

    def mix(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
        """`forward` without its last map."""
        mixed = F.scaled_dot_product_attention(self.split(q), self.split(k), self.split(v), attn_mask=bias)
        return mixed.transpose(-2, -3).flatten(-2)

    def read(self, asking: Tensor, x: Tensor, bias: Tensor) -> Tensor:
        """Attend with one query to each sequence. asking (n, d), x (n, P, d), bias (n, P) -> (n, d).

        <q, W x + b> = <W^T q, x> + <q, b>, whose second part is the same for all x and no matter to a softmax; and of
        the mix of W x + b only the mix of x has to be made.
        """
        weight = self.in_proj_weight.unflatten(0, (3, self.heads, -1))  # 3, heads, d / heads, d
        q = self.split(self.project(asking, "q")[:, None]).transpose(0, 1)[:, :, 0]  # heads, n, d / heads
        q = (q @ weight[1]).transpose(0, 1) * q.shape[-1] ** -0.5  # n, heads, d
        shares = torch.baddbmm(bias[:, None], q, x.transpose(1, 2)).softmax(-1)
        mixed = torch.bmm(shares, x).transpose(0, 1)  # heads, n, d
        value = (mixed @ weight[2].transpose(1, 2)).transpose(0, 1).flatten(1)
        return self.out_proj(value + self.in_proj_bias[2 * x.shape[-1] :])


class Layer(nn.Module):
    """A post-norm transformer layer. Encoders own the cross-attention `encoder_attn` and never run it."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.self_attn = Attention(width, heads)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.encoder_attn = Attention(width, heads)
        self.encoder_attn_layer_norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 2 * width)
        self.fc2 = nn.Linear(2 * width, width)
        self.final_layer_norm = nn.LayerNorm(width)

    def drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)

    def add_attended(self, x: Tensor, attended: Tensor) -> Tensor:
        """Close the branch of self-attention."""
        return self.self_attn_layer_norm(x + self.drop(attended))

    def add_crossed(self, x: Tensor, crossed: Tensor) -> Tensor:
        """Close the branch of cross-attention."""
        return self.encoder_attn_layer_norm(x + self.drop(crossed))

    def feed_forward(self, x: Tensor) -> Tensor:
        return self.final_layer_norm(x + self.drop(self.fc2(F.relu_(self.fc1(x)))))


class Layers(nn.Module):
    """A stack of layers."""

    def __init__(self, number: int, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.decoder_layers = nn.ModuleList(Layer(width, heads, dropout) for _ in range(number))

    def __iter__(self) -> Iterator[Layer]:
        return (cast(Layer, layer) for layer in self.decoder_layers)


def neck(width: int, concepts: int) -> nn.ModuleList:
    return nn.ModuleList([nn.Linear(width, width), nn.Linear(width, concepts * width)])


def to_concepts(layers: nn.ModuleList, x: Tensor) -> Tensor:
    """Last positions (..., d) through the neck -> concepts (..., K, d). The original views them as (d, K)."""
    width = x.shape[-1]
    for layer in layers:
        x = layer(x)
    return x.unflatten(-1, (width, -1)).transpose(-1, -2)


class VideoEncoder(nn.Module):
    """Concepts of a video under the bells of its anchors."""

    def __init__(self, sizes: Transformers, concepts: int) -> None:
        super().__init__()
        self.vid_encoder = Layers(sizes.num_decoder_layers1, sizes.d_model, sizes.num_heads, sizes.dropout)
        self.vid_necks = neck(sizes.d_model, concepts)

    def shared(self, clips: Tensor) -> "SharedClips":
        """What the windows of projected clips (B, S, d) share."""
        x = clips.flatten(0, 1)
        return SharedClips(x, next(iter(self.vid_encoder)).self_attn.project(x, "qkv"))

    def forward(self, clips: "SharedClips", windows: "Windows") -> Tensor:
        """Concepts (B, A, K, d)."""
        return to_concepts(self.vid_necks, self.last_positions(clips, windows))

    def last_positions(self, clips: "SharedClips", windows: "Windows") -> Tensor:
        """What the neck reads, (B, A, d)."""
        *layers, final = self.vid_encoder
        x = clips.x[windows.rows]  # N, d
        for i, layer in enumerate(layers):
            qkv = clips.qkv[windows.rows] if i == 0 else layer.self_attn.project(x, "qkv")
            x = layer.feed_forward(layer.add_attended(x, windows.attend(layer.self_attn, qkv)))
        last, read = windows.read(final.self_attn, x)
        return final.feed_forward(final.add_attended(last, read))[windows.order].unflatten(0, windows.shape)


class SharedClips(NamedTuple):
    """Projected clips (B S, d), and the first layer's queries, keys and values of them (B S, 3 d)."""

    x: Tensor
    qkv: Tensor


class Windows:
    """The windows of all bells, their positions one after the other; grouped by length where they attend.

    Attributes:
        rows: (N,), which of the videos' slots each position is.
        order: (B A,), where the window of each bell stands.
        shape: (B, A).
    """

    def __init__(self, weights: Array, device: torch.device) -> None:
        """weights (B, A, S)."""
        *self.shape, slots = weights.shape
        flat = weights.reshape(-1, slots)
        groups = layout.windows(flat, WINDOW_STEP)
        chosen = [layout.window_slots(group, slots) for group in groups]  # n, P
        videos = [group.rows // weights.shape[1] * slots for group in groups]
        seen = [layout.weight_bias(flat[g.rows], s) for g, s in zip(groups, chosen, strict=True)]
        causal = causal_bias(slots)
        rows = [(first[:, None] + of).ravel() for first, of in zip(videos, chosen, strict=True)]
        self.rows = to_tensor(np.concatenate(rows), device)
        self.order = to_tensor(layout.ungrouped(groups), device)
        self._sizes = [of.shape for of in chosen]
        self._last = [to_tensor(one[:, 0, 0], device) for one in seen]
        self._bias = [to_tensor(one + causal[: one.shape[-1], : one.shape[-1]], device) for one in seen]

    def _groups(self, x: Tensor) -> list[Tensor]:
        """(N, c) -> (n, P, c) of each group."""
        pieces = x.split([count * length for count, length in self._sizes])
        return [piece.unflatten(0, size) for piece, size in zip(pieces, self._sizes, strict=True)]

    def attend(self, attention: Attention, qkv: Tensor) -> Tensor:
        """Queries, keys and values (N, 3 d) -> (N, d)."""
        mixed = []
        for group, bias in zip(self._groups(qkv), self._bias, strict=True):
            q, k, v = group.chunk(3, dim=-1)
            mixed.append(attention.mix(q, k, v, bias).flatten(0, 1))
        return attention.out_proj(torch.cat(mixed))

    def read(self, attention: Attention, x: Tensor) -> tuple[Tensor, Tensor]:
        """The last positions (B A, d) of x (N, d), and what they see; in the order of the groups."""
        groups = self._groups(x)
        last = [group[:, -1] for group in groups]
        read = [attention.read(*of) for of in zip(last, groups, self._last, strict=True)]
        return torch.cat(last), torch.cat(read)


class TextEncoder(nn.Module):
    """Concepts of a sentence."""

    def __init__(self, sizes: Transformers, concepts: int) -> None:
        super().__init__()
        self.txt_encoder = Layers(sizes.num_decoder_layers1, sizes.d_model, sizes.num_heads, sizes.dropout)
        self.txt_necks = neck(sizes.d_model, concepts)

    def forward(self, words: Tensor, packing: "Packing") -> Tensor:
        """words (N, d), the sentences' positions one after the other -> concepts (B, K, d)."""
        *layers, final = self.txt_encoder
        causal = to_tensor(causal_bias(packing.longest), words.device)
        x = words
        for layer in layers:
            q, k, v = packing.pad(layer.self_attn.project(x, "qkv")).chunk(3, dim=-1)
            x = layer.feed_forward(layer.add_attended(x, packing.pack(layer.self_attn(q, k, v, causal))))
        last, padding = packing.last_of(x), to_tensor(packing.padding_bias()[:, 0, 0], words.device)
        x = final.add_attended(last, final.self_attn.read(last, packing.pad(x), padding))
        return to_concepts(self.txt_necks, final.feed_forward(x))


class Packing(layout.Packing):
    """Moves tensors between the two layouts of sequences, which are one where all are of the same length."""

    def __init__(self, lengths: Ints, device: torch.device) -> None:
        super().__init__(lengths)
        self._even = len(self.rows) == self.valid.size
        if not self._even:
            self.ends = to_tensor(self.last, device)
            self._rows, self._padded = to_tensor(self.rows, device), to_tensor(self.padded, device)

    def pad(self, x: Tensor) -> Tensor:
        """(..., N, c) -> (..., B, L, c). Behind a sequence's end stands something finite that nothing may read."""
        return x.unflatten(-2, self.valid.shape) if self._even else x[..., self._padded, :]

    def pack(self, x: Tensor) -> Tensor:
        """(..., B, L, c) -> (..., N, c)."""
        return x.flatten(-3, -2) if self._even else x.flatten(-3, -2)[..., self._rows, :]

    def last_of(self, x: Tensor) -> Tensor:
        """The sequences' last positions, (N, c) -> (B, c)."""
        return self.pad(x)[:, -1] if self._even else x[self.ends]

    def enclosed(self, first: Tensor, x: Tensor, last: Tensor) -> Tensor:
        """Sequences whose first position is `first` (c,), their last `last` (c,), the rest from x (B, W, c): (N, c)."""
        firsts, lasts = (one.expand(len(x), 1, -1) for one in (first, last))
        if self._even:
            return torch.cat([firsts, x[:, : self.longest - 2], lasts], dim=1).flatten(0, 1)
        sequence = self.pack(torch.cat([firsts, x, lasts], dim=1)[:, : self.longest])
        return sequence.index_copy(0, self.ends, last.expand(len(x), -1))


class CrossDecoder(nn.Module):
    """The semantic reconstructor: predicts each word from the words before it and a set of concepts."""

    def __init__(self, sizes: Transformers) -> None:
        super().__init__()
        self.decoder = Layers(sizes.num_decoder_layers2, sizes.d_model, sizes.num_heads, sizes.dropout)

    def forward(self, words: Tensor, packing: Packing, concepts: Tensor) -> Tensor:
        """words (N, d) packed, concepts (M, B, K, d): M sets for each sentence -> (M, N, d).

        Before the first cross-attention nothing depends on the concepts, so M sets share it.
        """
        causal = to_tensor(causal_bias(packing.longest), words.device)
        x = words[None]
        for layer in self.decoder:
            q, k, v = packing.pad(layer.self_attn.project(x, "qkv")).chunk(3, dim=-1)
            attended = packing.pack(layer.self_attn(q, k, v, causal))
            x = layer.add_attended(*torch.broadcast_tensors(x, attended.expand(len(concepts), -1, -1)))
            k, v = layer.encoder_attn.project(concepts, "kv").chunk(2, dim=-1)
            q = packing.pad(layer.encoder_attn.project(x, "q"))
            x = layer.feed_forward(layer.add_crossed(x, packing.pack(layer.encoder_attn(q, k, v, None))))
        return x


class CFMR(nn.Module):
    """The published model. Parameter names and shapes are those of the original's checkpoints.

    Args:
        sizes: `model.config` of a configuration file.
        vocabulary: words including padding, V.
        max_num_frames: F; T = F // 4 positions are sampled.
        use_ref: whether a loss reads the whole video's concepts.
    """

    readout: Literal["anchors"] = "anchors"

    def __init__(self, sizes: CFMRSizes, vocabulary: int, max_num_frames: int, use_ref: bool = False) -> None:
        super().__init__()
        self.sizes, self.max_num_frames, self.use_ref = sizes, max_num_frames, use_ref
        self._windows: tuple[tuple[int, torch.device], Windows] | None = None
        self.mask_vec = nn.Parameter(torch.zeros(sizes.words_input_size))
        self.start_vec = nn.Parameter(torch.zeros(sizes.words_input_size))
        self.txt_pred_vec = nn.Parameter(torch.zeros(sizes.words_input_size))
        self.vid_pred_vec = nn.Parameter(torch.zeros(sizes.frames_input_size))  # in every checkpoint, never read
        self.frame_fc = nn.Linear(sizes.frames_input_size, sizes.hidden_size)
        self.word_fc = nn.Linear(sizes.words_input_size, sizes.hidden_size)
        self.vid_encoder = VideoEncoder(sizes.Transformers, sizes.num_concept)
        self.txt_encoder = TextEncoder(sizes.Transformers, sizes.num_concept)
        self.cross_decoder = CrossDecoder(sizes.Transformers)
        self.fc_comp = nn.Linear(sizes.hidden_size, vocabulary)

    @classmethod
    def from_config(cls, config: CFMRConfig, words: int) -> "CFMR":
        """The model of a configuration for a vocabulary of so many words."""
        use_ref = config.loss.use_ref_words_rec or config.loss.use_ref_words_sam
        return cls(config.model.config, words + 1, config.dataset.max_num_frames, use_ref)

    @property
    def positions(self) -> int:
        """T."""
        return num_positions(self.max_num_frames)

    @property
    def kept_clips(self) -> NDArray[np.int64]:
        """Indices (S,) of the clips that are read, out of F."""
        return kept_clips(self.max_num_frames)

    def tensor(self, array: NDArray[Any]) -> Tensor:
        """The array on the model's device."""
        return to_tensor(array, self.mask_vec.device)

    def project_clips(self, clips: Tensor) -> Tensor:
        """Kept clips (B, S, frame_dim) -> (B, S, d)."""
        return self.frame_fc(F.dropout(clips, self.sizes.dropout, self.training))

    def project_words(self, words: Tensor) -> Tensor:
        return self.word_fc(F.dropout(words, self.sizes.dropout, self.training))

    def encode_video(self, clips: Tensor) -> Tensor:
        """Kept clips (B, S, frame_dim) -> concepts (B, A, K, d) of the retrieval anchors."""
        shared = self.vid_encoder.shared(self.project_clips(clips))
        return self.vid_encoder(shared, self._retrieval_windows(len(clips)))

    def encode_text(self, words: Tensor, lengths: Ints) -> Tensor:
        """Word vectors (B, W, word_dim) and numbers of words (B,) -> concepts (B, K, d)."""
        sequence, packing = self._sequence(words, lengths)
        return self.txt_encoder(self.project_words(sequence), packing)

    @torch.inference_mode()
    def video_vectors(self, features: NDArray[np.floating[Any]], duration: float = 0.0) -> tuple[Array, Array]:
        """What is indexed of a video.

        Args:
            features: (n, frame_dim), any number of clips.

        Returns:
            vectors (A, K d), each concept of length 1, and the anchors' spans (A, 2) as fractions of the video.
        """
        clips = pool_clips(features, self.max_num_frames)[None, self.kept_clips]
        concepts = F.normalize(self.encode_video(self.tensor(clips))[0], dim=-1)
        return concepts.flatten(-2).cpu().numpy(), spans(*retrieval_anchors(self.sizes))

    @torch.inference_mode()
    def encode_rows(self, features: NDArray[np.floating[Any]], duration: float = 0.0) -> tuple[Array, Array]:
        """The same as `video_vectors` in a seventh of the space: rows (A, d) of which `row_map` makes the concepts."""
        clips = self.tensor(pool_clips(features, self.max_num_frames)[None, self.kept_clips])
        shared = self.vid_encoder.shared(self.project_clips(clips))
        last = self.vid_encoder.last_positions(shared, self._retrieval_windows(1))[0]
        return self.vid_encoder.vid_necks[0](last).cpu().numpy(), spans(*retrieval_anchors(self.sizes))

    def finish_rows(self, rows: Array, features: NDArray[np.floating[Any]]) -> Array:
        """Anchors do not depend on other windows, see `RowModel.finish_rows`."""
        return rows

    @torch.inference_mode()
    def row_map(self) -> tuple[Array, Array]:
        """Weight (K, d, d) and bias (K, d): concept k of a row h, before normalisation, is weight[k] @ h + bias[k]."""
        final = cast(nn.Linear, self.vid_encoder.vid_necks[1])
        weight, bias = (p.unflatten(0, (-1, self.sizes.num_concept)).transpose(0, 1) for p in final.parameters())
        return weight.cpu().numpy().copy(), bias.cpu().numpy().copy()

    def word_inputs(self, vectors: Array) -> Array:
        """Word vectors as they are, see `Model.word_inputs`."""
        return vectors

    @torch.inference_mode()
    def text_vectors(self, words: Array, lengths: NDArray[np.int64]) -> Array:
        """Word vectors (B, W, word_dim) and numbers of words (B,) -> (B, K d), to be multiplied with a video's."""
        concepts = F.normalize(self.encode_text(self.tensor(words), lengths), dim=-1)
        return concepts.flatten(-2).cpu().numpy()

    def _retrieval_windows(self, videos: int) -> Windows:
        """The same for all videos, so worked out once."""
        key = videos, self.mask_vec.device
        if self._windows is None or self._windows[0] != key:
            centres, widths = retrieval_anchors(self.sizes)
            weights = anchor_weights(centres, widths, self.sizes.sigma, self.positions)
            with torch.inference_mode(False):  # what is kept may be needed for gradients later
                self._windows = key, Windows(np.broadcast_to(weights, (videos, *weights.shape)), key[1])
        return self._windows[1]

    def _sequence(self, words: Tensor, lengths: Ints) -> tuple[Tensor, Packing]:
        """Start vector, words, prediction vector of each sentence, packed: (N, word_dim)."""
        packing = Packing(lengths + 2, words.device)
        return packing.enclosed(self.start_vec, words, self.txt_pred_vec), packing

    def forward(self, batch: Batch, progress: float) -> Outputs:
        """A training step's outputs.

        Args:
            batch: see `Batch`; its masked words are the only random choice besides dropout.
            progress: epoch / max_epoch.
        """
        clips = self.vid_encoder.shared(self.project_clips(self.tensor(batch.clips)))
        sequence, packing = self._sequence(self.tensor(batch.words), batch.lengths)
        words = self.project_words(sequence)
        text = self.txt_encoder(words, packing)  # B, K, d

        centres, widths = np.broadcast_arrays(batch.glances[:, None], training_widths(self.sizes))
        weights = anchor_weights(centres, widths, self.sizes.sigma, self.positions)
        anchors = self.vid_encoder(clips, Windows(weights, words.device))  # B, n, K, d

        reconstruct = self._reconstructor(words, packing, batch)
        nll = reconstruct(torch.cat([text[None], anchors.transpose(0, 1)]))  # 1 + n, B
        best = nll[1:].argmin(0)
        others = self._other_weights(batch.glances, widths[0][best.cpu().numpy()], progress)
        concepts = anchors.new_zeros(0)
        if others.shape[1]:
            concepts = self.vid_encoder(clips, Windows(others, words.device)).transpose(0, 1)
        other_nll = reconstruct(concepts) if len(concepts) else concepts
        negatives = 2 if self.sizes.use_negative else 0
        return Outputs(
            anchor_concepts=anchors,
            text_concepts=text,
            anchor_nll=nll[1:],
            text_nll=nll[0],
            best=best,
            negative_concepts=concepts[:negatives],
            negative_nll=other_nll[:negatives],
            ref_concepts=concepts[-1] if self.use_ref else None,
            ref_nll=other_nll[-1] if self.use_ref else None,
        )

    def _other_weights(self, glances: Array, widths: Array, progress: float) -> Array:
        """Weights (B, 0 to 3, S) of what p* is compared with."""
        return other_weights(self.sizes, glances, widths, self.positions, progress, use_ref=self.use_ref)

    def _reconstructor(self, words: Tensor, packing: Packing, batch: Batch) -> Callable[[Tensor], Tensor]:
        """A function from concepts (M, B, K, d) to nll (M, B) of the batch's masked sentences."""
        count = batch.word_ids.shape[1]
        target = Packing(np.minimum(batch.lengths + 1, count), words.device)
        masked = self.tensor(np.pad(batch.masked, ((0, 0), (1, 0)))[:, : target.longest])
        inputs = packing.pad(words)[:, : target.longest]
        inputs = torch.where(masked[..., None], self.word_fc(self.mask_vec), inputs)
        inputs = target.pack(inputs + self.tensor(sinusoids(target.longest, words.shape[-1])))
        ids = self.tensor(batch.word_ids[:, : target.longest][target.valid])
        means = self.tensor(target.means())

        def nll(concepts: Tensor) -> Tensor:
            hidden = self.cross_decoder(inputs, target, concepts)  # M, N, d
            return smoothed_nll(self.fc_comp(hidden), ids) @ means  # M, N times N, B

        return nll


def smoothed_nll(logits: Tensor, ids: Tensor, smoothing: float = 0.1) -> Tensor:
    """Label-smoothed negative log-likelihood (..., N) of ids (N,) under logits (..., N, V)."""
    norm = logits.logsumexp(-1)
    chosen = norm - logits.gather(-1, ids.expand(logits.shape[:-1])[..., None])[..., 0]
    return (1 - smoothing) * chosen + smoothing * (norm - logits.mean(-1))
