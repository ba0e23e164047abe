"""How much GPU memory training takes, computed from a model's shape: ``python -m tasks.benchmarking.memory``.

The two tables that it prints are those of docs/gpus.md.

Where the terms come from:
- 16 bytes a trained parameter for weight, gradient and Adam's two moments in float32: Rajbhandari et al. 2020, "ZeRO"
  (arXiv:1910.02054), section 3.1. Two more for the half-precision copy that ``--bf16`` computes with, which autocast keeps
  until the backward pass has used it (transformers' "Model training anatomy" has the same 18).
- Activations a layer: Korthikanti et al. 2022, "Reducing Activation Recomputation in Large Transformer Models"
  (arXiv:2205.05198), section 4.1, counted anew for a mixed precision whose residual stream stays in float32, for attention
  that does not keep its scores (section 5.2 leaves them out in the same way), and for gated layers.
- 4.127 bits a weight in NF4 with double quantization: Dettmers et al. 2023, "QLoRA" (arXiv:2305.14314), section 3.
- FSDP: Zhao et al. 2023 (arXiv:2304.11277): each process keeps its share, and gathers one layer while it computes the last.

What is not in them: the allocator's waste, the buffers of NCCL and cuBLAS. ``RESERVE`` is set aside for these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

GIB = 2**30

#: CUDA's context, the libraries' work space and what the allocator cannot use, in bytes. Not computed: a usual value.
RESERVE = 1.0 * GIB

TRAINED = 16  # bytes a trained parameter: float32 weight and gradient, Adam's two moments
HALF = 2  # bytes of a number in bfloat16 or float16
NF4 = 4.127 / 8  # bytes a weight

#: Tokens of a batch on one GPU that the tables assume, each with a label as in run_generate.py.
TOKENS = 4096

METHODS = ("full", "LoRA", "QLoRA")


@dataclass(frozen=True)
class Shape:
    """The architecture of a decoder, as far as memory goes: GPT-2's by default.

    ``positions`` are learned ones, 0 for rotary. ``gated`` stands for Llama's layers: three matrices instead of two, RMS
    norms, no biases and no dropout.
    """

    layers: int
    width: int
    heads: int
    vocabulary: int
    positions: int = 0
    key_value_heads: int = 0
    mlp_width: int = 0
    gated: bool = False
    tied: bool = True

    @property
    def key_value_width(self) -> int:
        """The width of keys, and of values: smaller than the model's where heads share them."""
        return self.width * (self.key_value_heads or self.heads) // self.heads

    @property
    def matrices(self) -> list[tuple[int, int]]:
        """(inputs, outputs) of the linear maps of one layer."""
        h, kv, f = self.width, self.key_value_width, self.mlp_width or 4 * self.width
        if self.gated:
            return [(h, h), (h, kv), (h, kv), (h, h), (h, f), (h, f), (f, h)]
        return [(h, 3 * h), (h, h), (h, f), (f, h)]

    @property
    def layer_weights(self) -> int:
        """Numbers in the matrices of one layer."""
        return sum(inputs * outputs for inputs, outputs in self.matrices)

    @property
    def layer_parameters(self) -> int:
        """Parameters of one layer, with the two norms and GPT-2's biases."""
        if self.gated:
            return self.layer_weights + 2 * self.width
        return self.layer_weights + sum(outputs for _, outputs in self.matrices) + 4 * self.width

    @property
    def outer_parameters(self) -> int:
        """Parameters outside of the layers: embeddings, head, last norm."""
        embeddings = (self.vocabulary * (1 if self.tied else 2) + self.positions) * self.width
        return embeddings + (1 if self.gated else 2) * self.width

    @property
    def parameters(self) -> int:
        """All parameters."""
        return self.layers * self.layer_parameters + self.outer_parameters

    def adapter_parameters(self, rank: int) -> int:
        """Parameters of a LoRA adapter on all linear layers but the head."""
        return self.layers * rank * sum(inputs + outputs for inputs, outputs in self.matrices)

    @property
    def activations(self) -> int:
        """Bytes a token that one layer keeps for its backward pass under ``--bf16``.

        Attention: input, query, keys and values (repeated for all heads) and output in half precision, and of each head's
        softmax its normalizer in float32. MLP: input, what goes into the activation and what comes out; gated, the other
        factor and the product too. Norms: their inputs in float32, and an RMS norm, which transformers writes out in
        single operations, its quotient. Dropout: one byte an element, behind attention and MLP.
        """
        h, f = self.width, self.mlp_width or 4 * self.width
        attention = HALF * 5 * h + 4 * self.heads
        if self.gated:
            return attention + HALF * (h + 4 * f) + 2 * (4 + 4) * h
        return attention + HALF * (h + 2 * f) + 2 * 4 * h + 2 * h


#: The published GPT-2 sizes with KoGPT2's vocabulary, then Llama 3.2 3B and Llama 2 7B.
SHAPES = {
    "125 M": Shape(12, 768, 12, 51200, positions=1024),
    "355 M": Shape(24, 1024, 16, 51200, positions=1024),
    "774 M": Shape(36, 1280, 20, 51200, positions=1024),
    "1.5 B": Shape(48, 1600, 25, 51200, positions=1024),
    "3 B": Shape(28, 3072, 24, 128256, key_value_heads=8, mlp_width=8192, gated=True),
    "7 B": Shape(32, 4096, 32, 32000, mlp_width=11008, gated=True, tied=False),
}


def state_bytes(shape: Shape, method: str = "full", processes: int = 1, rank: int = 8) -> float:
    """Weights, gradients and optimizer state in bytes, on each of ``processes`` that share them by FSDP (``full`` alone).

    LoRA stands for ``--lora_r 8 --dtype bfloat16``, QLoRA for ``--lora_r 8 --load_in_4bit``.
    """
    adapter = shape.adapter_parameters(rank) * (TRAINED + HALF)
    if method == "LoRA":
        return shape.parameters * HALF + adapter
    if method == "QLoRA":
        quantized = shape.layers * shape.layer_weights
        # What is not quantized is kept in float32 by PEFT; a matrix is put into half precision while it is used.
        unpacked = max(inputs * outputs for inputs, outputs in shape.matrices) * HALF
        return quantized * NF4 + (shape.parameters - quantized) * 4 + unpacked + adapter
    if processes == 1:
        return shape.parameters * (TRAINED + HALF)
    # Whole at a time: two layers and all that is outside of them, in half precision; the gradients of one layer and of
    # the outer part, in half precision as they come and in float32 as they are sent.
    whole = HALF * (2 * shape.layer_parameters + shape.outer_parameters)
    whole += (HALF + 4) * (shape.layer_parameters + shape.outer_parameters)
    return shape.parameters * TRAINED / processes + whole


def activation_bytes(shape: Shape, tokens: int = TOKENS, labelled: float = 1.0, checkpointing: bool = False) -> float:
    """What a batch of ``tokens`` keeps for the backward pass, in bytes, with the logits of its ``labelled`` share.

    With ``checkpointing`` a layer keeps its input alone, and one layer at a time all of its activations.
    """
    layers = shape.activations * (1 if checkpointing else shape.layers)
    inputs = 4 * shape.width * shape.layers if checkpointing else 0
    # Logits in half precision and in float32, and their log-probabilities; in the backward pass as much of gradients.
    logits = labelled * shape.vocabulary * (HALF + 4 + 4)
    return tokens * (layers + inputs + logits)


def gigabytes(
    shape: Shape, method: str = "full", *, processes: int = 1, checkpointing: bool = False, tokens: int = TOKENS
) -> float:
    """GiB on each GPU: states, activations and the reserve."""
    total = state_bytes(shape, method, processes) + activation_bytes(shape, tokens, checkpointing=checkpointing)
    return (total + RESERVE) / GIB


def needs_table() -> list[str]:
    """Lines of the table of needs: a model a line, GiB a GPU by method, gradients checkpointed but in the first column."""
    lines = []
    for name, shape in SHAPES.items():
        cells = [gigabytes(shape), *(gigabytes(shape, method, checkpointing=True) for method in METHODS)]
        cells += [gigabytes(shape, processes=processes, checkpointing=True) for processes in (2, 4, 8)]
        lines.append(_line(name, [f"{cell:.1f}" for cell in cells]))
    return lines


def fits_table(sizes: Sequence[int] = (8, 12, 16, 24, 40, 80)) -> list[str]:
    """Lines of the table of cards: a model a line, for each size in GiB the first way of training that fits."""
    lines = []
    for name, shape in SHAPES.items():
        ways = {"full": gigabytes(shape), "full, checkpointing": gigabytes(shape, checkpointing=True)}
        ways |= {method: gigabytes(shape, method, checkpointing=True) for method in ("LoRA", "QLoRA")}
        ways |= {f"FSDP on {count}": gigabytes(shape, processes=count, checkpointing=True) for count in (2, 4, 8)}
        single = [way for way in ways if not way.startswith("FSDP")]
        cells = []
        for size in sizes:
            alone = next((way for way in single if ways[way] <= size), "-")
            shared = next((way for way in ways if way not in single and ways[way] <= size), None)
            cells.append(alone if alone.startswith("full") or not shared else f"{alone}; {shared}")
        lines.append(_line(name, cells))
    return lines


def _line(name: str, cells: Sequence[str]) -> str:
    return f"| {name} | {' | '.join(cells)} |"


if __name__ == "__main__":
    print(*needs_table(), "", *fits_table(), sep="\n")
