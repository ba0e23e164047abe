"""Tokens per second of one completion, in turns: transformers' generate, this project's loop, copies for CTranslate2.

python docs/measure_export.py FOLDER --prompt "서울은 대한민국의 수도이다. 한강이 흐르고" --new_tokens 48 --turns 4

FOLDER is a model with its tokenizer.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from tasks.inference.exported import Exported, engine
from tasks.inference.generation import generate
from tasks.model.speedups import fuse_gelu


def main() -> None:
    """Print a line for each method: tokens/s (median without the first turn), and cores that were at work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--prompt", required=True)
    parser.add_argument("--new_tokens", type=int, default=48)
    parser.add_argument("--turns", type=int, default=4)
    args = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(args.folder)
    ids = tokenizer(args.prompt, add_special_tokens=False).input_ids
    theirs, ours = (AutoModelForCausalLM.from_pretrained(args.folder).eval() for _ in range(2))
    fuse_gelu(ours)
    config = GenerationConfig(max_new_tokens=args.new_tokens, do_sample=False, pad_token_id=0, eos_token_id=None)
    settings = {"max_new_tokens": args.new_tokens, "num_beams": 1, "do_sample": False, "repetition_penalty": 1.0}
    settings["no_repeat_ngram_size"] = 0

    def whole() -> int:
        return theirs.generate(torch.tensor([ids]), generation_config=config).shape[1] - len(ids)

    methods = {"generate": whole}
    with tempfile.TemporaryDirectory() as place:
        models = {"ours": ours}
        for kind in ("float32", "int8"):
            folder = str(Path(place) / kind)
            engine().converters.TransformersConverter(args.folder).convert(folder, quantization=kind)
            models[kind] = Exported(engine().Generator(folder, intra_threads=torch.get_num_threads()), tokenizer)
        for name, model in models.items():
            methods[name] = lambda model=model: len(generate(model, tokenizer, [ids], settings)[0][0])
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in methods}
        for turn in range(args.turns):
            for name in list(methods)[:: 1 if turn % 2 else -1]:
                clock, processor = time.perf_counter(), time.process_time()
                written = methods[name]()
                times[name].append((written / (time.perf_counter() - clock), (time.process_time() - processor)))
    for name, turns in times.items():
        speed = statistics.median(speed for speed, _ in turns[1:])
        print(f"{name:10} {speed:8.2f} tokens/s, {min(seconds for _, seconds in turns):.2f} s of processor time")


if __name__ == "__main__":
    main()
