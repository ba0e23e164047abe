"""How much GPU memory training takes, computed from a model's shape: ``python -m tasks.benchmarking.memory``.

The two tables that it prints are those of docs/gpus.md, which names the source of every term. Activations follow
Korthikanti et al. 2022 (arXiv:2205.05198, section 4.1), derived again for a residual stream in float32, for attention that
does not keep its scores, and for gated layers. ``RESERVE`` stands for what the allocator and the libraries need.
"""

from __future__ import annotations

import torch
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, PretrainedConfig
from transformers.pytorch_utils import Conv1D

from tasks.model.new_model import GPT2_SIZES

GIB = 2**30

#: CUDA's context, the libraries' work space and what the allocator cannot use, in bytes. Not computed: a usual value.
RESERVE = 1.0 * GIB

TRAINED = 16  # bytes a trained parameter: float32 weight and gradient, Adam's two moments
HALF = 2  # bytes of a number in bfloat16 or float16
NF4 = 4.127 / 8  # bytes a weight

#: Tokens of a batch on one GPU that the tables assume, each with a label as in run_generate.py.
TOKENS = 4096


def linear_shapes(module: torch.nn.Module) -> list[tuple[int, int]]:
    """(inputs, outputs) of the linear maps in a module."""
    linear = [each for each in module.modules() if isinstance(each, (torch.nn.Linear, Conv1D))]
    return [tuple(each.weight.shape if isinstance(each, Conv1D) else each.weight.shape[::-1]) for each in linear]


class Shape:
    """What decides the memory of a decoder with layers like GPT-2's or Llama's (gated, RMS norms, no dropout)."""

    def __init__(self, config: PretrainedConfig) -> None:
        with torch.device("meta"):  # no weights are made
            model = AutoModelForCausalLM.from_config(config)
        layers = next(module for module in model.modules() if isinstance(module, torch.nn.ModuleList))
        self.layers, self.width, self.heads = len(layers), config.hidden_size, config.num_attention_heads
        self.vocabulary = config.vocab_size
        self.gated = config.model_type == "llama"
        self.matrices = linear_shapes(layers[0])
        self.layer_weights = sum(inputs * outputs for inputs, outputs in self.matrices)
        self.layer_parameters = sum(parameter.numel() for parameter in layers[0].parameters())
        self.parameters = model.num_parameters()
        self.outer_parameters = self.parameters - self.layers * self.layer_parameters

    def adapter_parameters(self, rank: int) -> int:
        """Parameters of a LoRA adapter on all linear layers but the head."""
        return self.layers * rank * sum(inputs + outputs for inputs, outputs in self.matrices)

    @property
    def activations(self) -> int:
        """Bytes a token that one layer keeps for its backward pass under ``--bf16``.

        Attention: input, query, keys and values (repeated for all heads) and output in half precision, and the float32
        normalizer of each head's softmax. MLP: input, and input and output of the activation; gated, the other factor and
        the product too. Norms: their inputs in float32; an RMS norm, which transformers writes out in single operations,
        keeps its quotient as well. Dropout: one byte an element, after attention and MLP.
        """
        h, f = self.width, self.matrices[-1][0]  # the last matrix leads from the MLP's width back to the model's
        attention = HALF * 5 * h + 4 * self.heads
        if self.gated:
            return attention + HALF * (h + 4 * f) + 2 * (4 + 4) * h
        return attention + HALF * (h + 2 * f) + 2 * 4 * h + 2 * h


def _gpt2(size: str) -> GPT2Config:
    layers, width, heads = GPT2_SIZES[size]
    return GPT2Config(vocab_size=51200, n_layer=layers, n_embd=width, n_head=heads)


#: The published GPT-2 sizes with KoGPT2's vocabulary, then Llama 3.2 3B and Llama 2 7B.
CONFIGS = {
    "125 M": _gpt2("small"),
    "355 M": _gpt2("medium"),
    "774 M": _gpt2("large"),
    "1.5 B": _gpt2("xl"),
    "3 B": LlamaConfig(
        vocab_size=128256, num_hidden_layers=28, hidden_size=3072, intermediate_size=8192, num_attention_heads=24,
        num_key_value_heads=8, tie_word_embeddings=True,
    ),
    "7 B": LlamaConfig(vocab_size=32000),  # LlamaConfig's defaults are Llama 2 7B
}  # fmt: skip


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
    """What a batch of ``tokens`` keeps for the backward pass, in bytes, with the logits of its ``labelled`` fraction.

    With ``checkpointing`` a layer keeps its input alone, and one layer at a time all of its activations.
    """
    layers = shape.activations * (1 if checkpointing else shape.layers)
    inputs = 4 * shape.width * shape.layers if checkpointing else 0
    # Logits in half precision and in float32, and their log-probabilities; as many gradients in the backward pass.
    logits = labelled * shape.vocabulary * (HALF + 4 + 4)
    return tokens * (layers + inputs + logits)


def gigabytes(shape: Shape, method: str = "full", *, processes: int = 1, checkpointing: bool = False) -> float:
    """GiB on each GPU: states, activations and the reserve."""
    total = state_bytes(shape, method, processes) + activation_bytes(shape, checkpointing=checkpointing)
    return (total + RESERVE) / GIB


def needs(shape: Shape) -> dict[str, float]:
    """GiB a GPU by method of training, with gradient checkpointing in all but the first."""
    found = {"full": gigabytes(shape), "full, checkpointing": gigabytes(shape, checkpointing=True)}
    found |= {method: gigabytes(shape, method, checkpointing=True) for method in ("LoRA", "QLoRA")}
    return found | {f"FSDP on {n}": gigabytes(shape, processes=n, checkpointing=True) for n in (2, 4, 8)}


def tables() -> tuple[str, str]:
    """The rows of docs/gpus.md, one per model: its needs, and what fits on a card of each size."""
    needed, fits = [], []
    for name, config in CONFIGS.items():
        found = needs(Shape(config))
        needed.append(f"| {name} | {' | '.join(f'{need:.1f}' for need in found.values())} |")
        fits.append(f"| {name} | {' | '.join(_first_that_fits(found, size) for size in (8, 12, 16, 24, 40, 80))} |")
    return "\n".join(needed), "\n".join(fits)


def _first_that_fits(found: dict[str, float], size: int) -> str:
    """The first method that fits on one card of ``size`` GiB; unless it trains all weights, FSDP on several cards too."""
    fitting = [method for method, need in found.items() if need <= size]
    alone = next((method for method in fitting if not method.startswith("FSDP")), "-")
    shared = next((method for method in fitting if method.startswith("FSDP")), None)
    return alone if alone.startswith("full") or not shared else f"{alone}; {shared}"


if __name__ == "__main__":
    print(*tables(), sep="\n\n")
