"""The published model, CFMR, computing only what is read; see `../pytorch/model.py`, whose names it has.

Where windows and packed sentences lie is worked out in numpy, see `layout.py`.

Shapes: B batch, A anchors, S = T + 1 positions of a video, P positions of a window, W words, K concepts, d width.
"""

from collections.abc import Callable, Iterator
from typing import Any, Literal, cast

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from mindspore.common.initializer import XavierUniform, Zero, initializer
from numpy.typing import NDArray

from cfmr.config import CFMRConfig, CFMRSizes, Transformers
from cfmr.data.features import pool_clips
from cfmr.files.mindspore_ckpt import checkpoint_name
from cfmr.models.cfmr import layout, losses
from cfmr.models.cfmr.batches import Batch
from cfmr.models.cfmr.layout import Ints, WindowGroup, causal_bias, other_weights, sinusoids
from cfmr.moments.anchors import (
    Array,
    anchor_weights,
    kept_clips,
    num_positions,
    retrieval_anchors,
    spans,
    training_widths,
)

WINDOW_STEP = 26  # windows are computed in groups whose lengths differ by less than this; a group costs more here
MASKED = -1e30  # added to scores that nothing may read
Outputs = losses.Outputs[Tensor, Ints]  # `best` stays on the host, where the negatives are laid by it


class Attention(nn.Cell):  # type: ignore[misc]
    """Parameters of a multi-head attention under the names of the original's checkpoints."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = Parameter(initializer(XavierUniform(), (3 * width, width)))
        self.in_proj_bias = Parameter(initializer(Zero(), (3 * width,)))
        self.out_proj = nn.Dense(width, width, weight_init=XavierUniform(), bias_init=Zero())
        self.multiply = ops.MatMul(transpose_b=True)
        self.scores = ops.BatchMatMul(transpose_b=True)
        self.mix = ops.BatchMatMul()

    def project(self, x: Tensor, what: str) -> Tensor:
        """Linear maps to queries ("q"), keys and values ("kv") or all three ("qkv"), side by side."""
        width = x.shape[-1]
        weight, bias = self.in_proj_weight, self.in_proj_bias
        if what == "q":
            weight, bias = weight[:width], bias[:width]
        elif what == "kv":
            weight, bias = weight[width:], bias[width:]
        return (ops.bias_add(self.multiply(x.reshape(-1, width), weight), bias)).reshape(*x.shape[:-1], -1)

    def split(self, x: Tensor, parts: int) -> tuple[Tensor, ...]:
        """(..., L, parts d), side by side -> parts times (..., heads, L, d / heads)."""
        *outer, length, width = x.shape
        x = x.reshape(int(np.prod(outer)), length, parts * self.heads, width // parts // self.heads)
        x = ops.transpose(x, (0, 2, 1, 3))  # with five axes it takes twice as long
        each = ops.split(x, self.heads, 1) if parts > 1 else (x,)
        return tuple(part.reshape(*outer, self.heads, length, -1) for part in each)

    def construct(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
        """Attend, heads being split. q (..., heads, L, c), k and v (..., heads, M, c), bias broadcast to
        (..., heads, L, M) -> (..., L, d)."""
        scores = self.scores(q * q.shape[-1] ** -0.5, k)
        mixed = self.mix(ops.softmax(scores if bias is None else scores + bias), v)
        outer = tuple(range(mixed.ndim - 3))
        last = mixed.ndim
        mixed = ops.transpose(mixed, (*outer, last - 2, last - 3, last - 1))
        return self.out_proj(mixed.reshape(*mixed.shape[:-2], -1))


class Layer(nn.Cell):  # type: ignore[misc]
    """A post-norm transformer layer. Encoders own the cross-attention `encoder_attn` and never run it."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.self_attn = Attention(width, heads)
        self.self_attn_layer_norm = nn.LayerNorm((width,), epsilon=1e-5)
        self.encoder_attn = Attention(width, heads)
        self.encoder_attn_layer_norm = nn.LayerNorm((width,), epsilon=1e-5)
        self.fc1 = nn.Dense(width, 2 * width)
        self.fc2 = nn.Dense(2 * width, width)
        self.final_layer_norm = nn.LayerNorm((width,), epsilon=1e-5)

    def drop(self, x: Tensor) -> Tensor:
        return drop(x, self.dropout, self.training)

    def add_attended(self, x: Tensor, attended: Tensor) -> Tensor:
        """Close the branch of self-attention."""
        return self.self_attn_layer_norm(x + self.drop(attended))

    def add_crossed(self, x: Tensor, crossed: Tensor) -> Tensor:
        """Close the branch of cross-attention."""
        return self.encoder_attn_layer_norm(x + self.drop(crossed))

    def feed_forward(self, x: Tensor) -> Tensor:
        return self.final_layer_norm(x + self.drop(self.fc2(ops.relu(self.fc1(x)))))


class Layers(nn.Cell):  # type: ignore[misc]
    """A stack of layers."""

    def __init__(self, number: int, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.decoder_layers = nn.CellList([Layer(width, heads, dropout) for _ in range(number)])

    def __iter__(self) -> Iterator[Layer]:
        return (cast(Layer, layer) for layer in self.decoder_layers)


def drop(x: Tensor, share: float, training: bool) -> Tensor:
    return ops.dropout(x, share) if training and share else x


def neck(width: int, concepts: int) -> nn.CellList:
    return nn.CellList([nn.Dense(width, width), nn.Dense(width, concepts * width)])


def to_concepts(layers: nn.CellList, x: Tensor) -> Tensor:
    """Last positions (..., d) through the neck -> concepts (..., K, d). The original views them as (d, K)."""
    width = x.shape[-1]
    for layer in layers:
        x = layer(x)
    return x.reshape(*x.shape[:-1], width, -1).swapaxes(-1, -2)


def rows_of(x: Tensor, rows: Ints) -> Tensor:
    """Rows (..., c), by any array of row numbers, of x (..., N, c) taken as one list."""
    return ops.gather(x.reshape(-1, x.shape[-1]), Tensor(rows), 0)


class VideoEncoder(nn.Cell):  # type: ignore[misc]
    """Concepts of a video under the bells of its anchors."""

    def __init__(self, sizes: Transformers, concepts: int) -> None:
        super().__init__()
        self.vid_encoder = Layers(sizes.num_decoder_layers1, sizes.d_model, sizes.num_heads, sizes.dropout)
        self.vid_necks = neck(sizes.d_model, concepts)

    def construct(self, clips: Tensor, weights: Array) -> Tensor:
        """clips (B, S, d), weights (B, A, S) -> concepts (B, A, K, d)."""
        return to_concepts(self.vid_necks, self.last_positions(clips, weights))

    def last_positions(self, clips: Tensor, weights: Array) -> Tensor:
        """What the neck reads, (B, A, d)."""
        batch, anchors, slots = weights.shape
        flat = weights.reshape(-1, slots)
        shared = next(iter(self.vid_encoder)).self_attn.project(clips, "qkv")  # B, S, 3 d
        groups = layout.windows(flat, WINDOW_STEP)
        last = [self._encode(clips, shared, flat[group.rows], group.rows // anchors, group) for group in groups]
        return rows_of(ops.cat(last), layout.ungrouped(groups).reshape(batch, anchors))

    def _encode(self, clips: Tensor, shared: Tensor, weights: Array, video: Ints, group: WindowGroup) -> Tensor:
        """Last positions (n, d) of a group's windows, given the bells (n, S) and the video (n,) of each."""
        slots = layout.window_slots(group, weights.shape[1])  # n, P
        seen = layout.weight_bias(weights, slots)
        last_bias = Tensor(seen)
        bias = Tensor(np.maximum(seen + causal_bias(group.length + 1, MASKED), np.float32(MASKED)))
        rows = video[:, None] * weights.shape[1] + slots
        last = np.arange(len(rows))[:, None] * (group.length + 1) + group.length  # n, 1
        x = rows_of(clips, rows)  # n, P, d
        first = rows_of(shared, rows)  # n, P, 3 d
        *layers, final = self.vid_encoder
        for i, layer in enumerate(layers):
            attention = layer.self_attn
            q, k, v = attention.split(first if i == 0 else attention.project(x, "qkv"), 3)
            x = layer.feed_forward(layer.add_attended(x, attention(q, k, v, bias)))
        attention = final.self_attn
        if not layers:
            q, k, v = attention.split(first, 3)
            q = q[:, :, -1:]
        else:
            (q,) = attention.split(attention.project(rows_of(x, last), "q"), 1)
            k, v = attention.split(attention.project(x, "kv"), 2)
        x = final.add_attended(rows_of(x, last), attention(q, k, v, last_bias))
        return final.feed_forward(x)[:, 0]


class TextEncoder(nn.Cell):  # type: ignore[misc]
    """Concepts of a sentence."""

    def __init__(self, sizes: Transformers, concepts: int) -> None:
        super().__init__()
        self.txt_encoder = Layers(sizes.num_decoder_layers1, sizes.d_model, sizes.num_heads, sizes.dropout)
        self.txt_necks = neck(sizes.d_model, concepts)

    def construct(self, words: Tensor, packing: "Packing") -> Tensor:
        """words (N, d), the sentences' positions one after the other -> concepts (B, K, d)."""
        *layers, final = self.txt_encoder
        causal = Tensor(causal_bias(packing.longest, MASKED))
        x = words
        for layer in layers:
            attention = layer.self_attn
            q, k, v = attention.split(packing.pad(attention.project(x, "qkv")), 3)
            x = layer.feed_forward(layer.add_attended(x, packing.pack(attention(q, k, v, causal))))
        attention, last = final.self_attn, rows_of(x, packing.last)
        k, v = attention.split(packing.pad(attention.project(x, "kv")), 2)
        (q,) = attention.split(attention.project(last, "q")[:, None], 1)
        x = final.add_attended(last, attention(q, k, v, Tensor(packing.padding_bias(MASKED)))[:, 0])
        return to_concepts(self.txt_necks, final.feed_forward(x))


class Packing(layout.Packing):
    """Moves tensors between the two layouts of sequences."""

    def pad(self, x: Tensor) -> Tensor:
        """(..., N, c) -> (..., B, L, c). Behind a sequence's end stands something finite that nothing may read."""
        return self._take(x, self.padded, 1)

    def pack(self, x: Tensor) -> Tensor:
        """(..., B, L, c) -> (..., N, c)."""
        return self._take(x, self.rows, 2)

    def _take(self, x: Tensor, rows: Ints, axes: int) -> Tensor:
        """Rows out of the `axes` axes before the last, for each of the axes before them."""
        outer, inner = x.shape[: -axes - 1], x.shape[-axes - 1 : -1]
        each = np.arange(int(np.prod(outer))) * int(np.prod(inner))
        return rows_of(x, (each.reshape(*outer, *[1] * rows.ndim) + rows).astype(np.int64))


class CrossDecoder(nn.Cell):  # type: ignore[misc]
    """The semantic reconstructor: predicts each word from the words before it and a set of concepts."""

    def __init__(self, sizes: Transformers) -> None:
        super().__init__()
        self.decoder = Layers(sizes.num_decoder_layers2, sizes.d_model, sizes.num_heads, sizes.dropout)

    def construct(self, words: Tensor, packing: Packing, concepts: Tensor) -> Tensor:
        """words (N, d) packed, concepts (M, B, K, d): M sets for each sentence -> (M, N, d).

        Before the first cross-attention nothing depends on the concepts, so M sets share it.
        """
        causal = Tensor(causal_bias(packing.longest, MASKED))
        shape = (len(concepts), *words.shape)
        x = words[None]
        for layer in self.decoder:
            attention = layer.self_attn
            q, k, v = attention.split(packing.pad(attention.project(x, "qkv")), 3)
            attended = packing.pack(attention(q, k, v, causal))
            x = layer.add_attended(ops.broadcast_to(x, shape), ops.broadcast_to(attended, shape))
            attention = layer.encoder_attn
            k, v = attention.split(attention.project(concepts, "kv"), 2)
            (q,) = attention.split(packing.pad(attention.project(x, "q")), 1)
            x = layer.feed_forward(layer.add_crossed(x, packing.pack(attention(q, k, v, None))))
        return x


class CFMR(nn.Cell):  # type: ignore[misc]
    """The published model. Parameter names are those of the original's checkpoints but for MindSpore's own of a layer
    norm, see `checkpoint_name`.

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
        self.mask_vec = Parameter(initializer(Zero(), (sizes.words_input_size,)))
        self.start_vec = Parameter(initializer(Zero(), (sizes.words_input_size,)))
        self.txt_pred_vec = Parameter(initializer(Zero(), (sizes.words_input_size,)))
        self.vid_pred_vec = Parameter(
            initializer(Zero(), (sizes.frames_input_size,))
        )  # in every checkpoint, never read
        self.frame_fc = nn.Dense(sizes.frames_input_size, sizes.hidden_size)
        self.word_fc = nn.Dense(sizes.words_input_size, sizes.hidden_size)
        self.vid_encoder = VideoEncoder(sizes.Transformers, sizes.num_concept)
        self.txt_encoder = TextEncoder(sizes.Transformers, sizes.num_concept)
        self.cross_decoder = CrossDecoder(sizes.Transformers)
        self.fc_comp = nn.Dense(sizes.hidden_size, vocabulary)

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
    def kept_clips(self) -> Ints:
        """Indices (S,) of the clips that are read, out of F."""
        return kept_clips(self.max_num_frames)

    def checkpoint_parameters(self) -> dict[str, Parameter]:
        """Parameters by their names in a checkpoint."""
        return {checkpoint_name(name): value for name, value in self.parameters_and_names()}

    def project_clips(self, clips: Tensor) -> Tensor:
        """Kept clips (B, S, frame_dim) -> (B, S, d)."""
        return self.frame_fc(drop(clips, self.sizes.dropout, self.training))

    def project_words(self, words: Tensor) -> Tensor:
        return self.word_fc(drop(words, self.sizes.dropout, self.training))

    def encode_video(self, clips: Tensor) -> Tensor:
        """Kept clips (B, S, frame_dim) -> concepts (B, A, K, d) of the retrieval anchors."""
        return self.vid_encoder(self.project_clips(clips), self._retrieval_weights(len(clips)))

    def encode_text(self, words: Tensor, lengths: Ints) -> Tensor:
        """Word vectors (B, W, word_dim) and numbers of words (B,) -> concepts (B, K, d)."""
        sequence, packing = self._sequence(words, lengths)
        return self.txt_encoder(self.project_words(sequence), packing)

    def video_vectors(self, features: NDArray[np.floating[Any]], duration: float = 0.0) -> tuple[Array, Array]:
        """What is indexed of a video.

        Args:
            features: (n, frame_dim), any number of clips.

        Returns:
            vectors (A, K d), each concept of length 1, and the anchors' spans (A, 2) as fractions of the video.
        """
        clips = pool_clips(features, self.max_num_frames)[None, self.kept_clips]
        concepts = normalize(self.encode_video(Tensor(clips))[0])
        return concepts.reshape(len(concepts), -1).asnumpy(), spans(*retrieval_anchors(self.sizes))

    def encode_rows(self, features: NDArray[np.floating[Any]], duration: float = 0.0) -> tuple[Array, Array]:
        """The same as `video_vectors` in a seventh of the space: rows (A, d) of which `row_map` makes the concepts."""
        clips = Tensor(pool_clips(features, self.max_num_frames)[None, self.kept_clips])
        last = self.vid_encoder.last_positions(self.project_clips(clips), self._retrieval_weights(1))[0]
        return self.vid_encoder.vid_necks[0](last).asnumpy(), spans(*retrieval_anchors(self.sizes))

    def finish_rows(self, rows: Array, features: NDArray[np.floating[Any]]) -> Array:
        """Anchors do not depend on other windows, see `RowModel.finish_rows`."""
        return rows

    def row_map(self) -> tuple[Array, Array]:
        """Weight (K, d, d) and bias (K, d): concept k of a row h, before normalisation, is weight[k] @ h + bias[k]."""
        final = self.vid_encoder.vid_necks[1]
        count = self.sizes.num_concept
        weight, bias = final.weight.asnumpy(), final.bias.asnumpy()
        weight, bias = weight.reshape(-1, count, weight.shape[1]).swapaxes(0, 1), bias.reshape(-1, count).T
        return np.ascontiguousarray(weight), np.ascontiguousarray(bias)

    def word_inputs(self, vectors: Array) -> Array:
        """Word vectors as they are, see `Model.word_inputs`."""
        return vectors

    def text_vectors(self, words: Array, lengths: Ints) -> Array:
        """Word vectors (B, W, word_dim) and numbers of words (B,) -> (B, K d), to be multiplied with a video's."""
        concepts = normalize(self.encode_text(Tensor(words), lengths))
        return concepts.reshape(len(concepts), -1).asnumpy()

    def _retrieval_weights(self, videos: int) -> Array:
        """(B, A, S)."""
        centres, widths = retrieval_anchors(self.sizes)
        weights = anchor_weights(centres, widths, self.sizes.sigma, self.positions)
        return np.broadcast_to(weights, (videos, *weights.shape))

    def _sequence(self, words: Tensor, lengths: Ints) -> tuple[Tensor, Packing]:
        """Start vector, words, prediction vector of each sentence, packed: (N, word_dim)."""
        packing = Packing(lengths + 2)
        batch, count, _ = words.shape
        listed = ops.cat([self.start_vec[None], self.txt_pred_vec[None], words.reshape(batch * count, -1)])
        position = np.arange(packing.longest)
        inner = 1 + np.arange(batch)[:, None] * count + position
        ends = position == (packing.lengths - 1)[:, None]
        rows = np.where(position == 0, 0, np.where(ends, 1, inner))
        return rows_of(listed, rows[packing.valid]), packing

    def construct(self, batch: Batch, progress: float) -> Outputs:
        """A training step's outputs.

        Args:
            batch: see `Batch`; its masked words are the only random choice besides dropout.
            progress: epoch / max_epoch.
        """
        clips = self.project_clips(Tensor(batch.clips))
        sequence, packing = self._sequence(Tensor(batch.words), batch.lengths)
        words = self.project_words(sequence)
        text = self.txt_encoder(words, packing)  # B, K, d

        centres, widths = np.broadcast_arrays(batch.glances[:, None], training_widths(self.sizes))
        weights = anchor_weights(centres, widths, self.sizes.sigma, self.positions)
        anchors = self.vid_encoder(clips, weights)  # B, n, K, d

        reconstruct = self._reconstructor(words, packing, batch)
        nll = reconstruct(ops.cat([text[None], anchors.swapaxes(0, 1)]))  # 1 + n, B
        best = nll[1:].asnumpy().argmin(0)
        others = self._other_weights(batch.glances, widths[0][best], progress)
        nothing = Tensor(np.zeros((0,), np.float32))
        concepts = self.vid_encoder(clips, others).swapaxes(0, 1) if others.shape[1] else nothing
        other_nll = reconstruct(concepts) if others.shape[1] else nothing
        negatives = 2 if self.sizes.use_negative else 0
        return Outputs(
            anchor_concepts=anchors,
            text_concepts=text,
            anchor_nll=nll[1:],
            text_nll=nll[0],
            best=best,
            negative_concepts=concepts[:negatives] if negatives else nothing,
            negative_nll=other_nll[:negatives] if negatives else nothing,
            ref_concepts=concepts[-1] if self.use_ref else None,
            ref_nll=other_nll[-1] if self.use_ref else None,
        )

    def _other_weights(self, glances: Array, widths: Array, progress: float) -> Array:
        """Weights (B, 0 to 3, S) of what p* is compared with."""
        return other_weights(self.sizes, glances, widths, self.positions, progress, use_ref=self.use_ref)

    def _reconstructor(self, words: Tensor, packing: Packing, batch: Batch) -> Callable[[Tensor], Tensor]:
        """A function from concepts (M, B, K, d) to nll (M, B) of the batch's masked sentences."""
        count = batch.word_ids.shape[1]
        target = Packing(np.minimum(batch.lengths + 1, count))
        masked = np.pad(batch.masked, ((0, 0), (1, 0)))[:, : target.longest][target.valid]  # N
        listed = ops.cat([self.word_fc(self.mask_vec[None]), words])
        rows = 1 + (packing.first[:, None] + np.arange(target.longest))[target.valid]
        position = np.broadcast_to(np.arange(target.longest), target.valid.shape)[target.valid]
        inputs = rows_of(listed, np.where(masked, 0, rows))
        inputs = inputs + Tensor(sinusoids(target.longest, words.shape[-1])[position])
        wanted = Tensor(smoothed_targets(batch.word_ids[:, : target.longest][target.valid], self.fc_comp.out_channels))
        means = Tensor(target.means())

        def nll(concepts: Tensor) -> Tensor:
            hidden = self.cross_decoder(inputs, target, concepts)  # M, N, d
            loss = -(ops.log_softmax(self.fc_comp(hidden), -1) * wanted).sum(-1)  # M, N
            return ops.matmul(loss, means)

        return nll


def smoothed_targets(ids: Ints, vocabulary: int, smoothing: float = 0.1) -> Array:
    """(N, V): log-probabilities times this, summed, are the label-smoothed log-likelihood of ids (N,)."""
    targets = np.full((len(ids), vocabulary), smoothing / vocabulary, np.float32)
    targets[np.arange(len(ids)), ids] += np.float32(1 - smoothing)
    return targets


def normalize(x: Tensor) -> Tensor:
    """Vectors (..., d) brought to length 1."""
    return x / ops.sqrt(ops.maximum((x * x).sum(-1, keepdims=True), Tensor(1e-24, ms.float32)))
