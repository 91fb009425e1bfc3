#!/usr/bin/env python3
"""Family llama (ternary, b1.58) against LlamaForCausalLM of the transformers library, both ways.

What is compared, and how closely, is that of hf_bitnet.py: logits without activation quantiser within
1e-4, int8 layer by layer, perplexity within 0.1 %. Random models of ours are converted to folders that
the library loads (packed, FP32 masters, scales as 1/mean|W|); models that the library made are converted
to .tpack, and back to the very weights.

Needs the packages of tests/conformance/README.md; without them it says so and ends with 77.
"""
import argparse
import pathlib
import sys
import tempfile

import hf_bitnet as common
from hf_bitnet import torch, transformers

from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

QUANTIZED = {"quant_method": "bitnet", "linear_class": "autobitlinear", "quantization_mode": "online"}


def exported(tools, work, ids):
    for shape, flags in {"untied": ["--untied"], "tied": ["--kv-heads", "6", "--seed", "2"],
                         "wide": ["--untied", "--hidden", "192", "--heads", "4", "--ffn", "384", "--vocab", "1000",
                                  "--rope-theta", "500000", "--layers", "6", "--kv-heads", "1"]}.items():
        at = work / shape
        at.mkdir()
        tools.run(tools.model, "random", "--family", "llama", "--out", at / "m.safetensors", *flags)
        for form in (["tpack", at / "m.tpack"], ["hf", at / "packed"], ["hf", at / "masters", "--masters"]):
            tools.run(tools.ctl, "convert", at / "m.safetensors", form[1], "--to", form[0], *form[2:])
        common.compare(f"exported, {shape}", tools, at / "packed", at / "m.tpack", ids, work)
        apart, count = common.codes_apart(at / "masters", at / "packed")
        common.compare(f"exported, {shape}, FP32 masters", tools, at / "masters", at / "m.tpack", ids, work, apart)
        common.check(apart <= 1e-5 * count, f"codes: the library rounds {apart} of {count} weights to another one, "
                     "expected <= 1e-5 of them")
        if shape == "untied":
            inverse = common.as_bitlinear(at / "packed", at / "inverse")
            tools.run(tools.ctl, "convert", inverse, at / "inverse.tpack", "--to", "tpack")
            common.compare("converted, weight_scale 1/mean|W|", tools, inverse, at / "inverse.tpack", ids, work)


def imported(tools, work, ids):
    for name, extra in {"untied": {}, "tied": {"tie_word_embeddings": True, "head_dim": 48}}.items():
        torch.manual_seed(5)
        config = LlamaConfig(vocab_size=300, hidden_size=128, intermediate_size=192, num_hidden_layers=4,
                             num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512,
                             bos_token_id=1, eos_token_id=2, pad_token_id=0, initializer_range=0.1,
                             quantization_config=QUANTIZED, **extra)
        made, at = work / f"made-{name}", work / f"converted-{name}"
        LlamaForCausalLM(config).save_pretrained(made, max_shard_size="300kB")
        tools.run(tools.ctl, "convert", made, f"{at}.tpack", "--to", "tpack")
        common.compare(f"made by the library, {name}", tools, made, f"{at}.tpack", ids, work)
        tools.run(tools.ctl, "convert", made, f"{at}-again", "--to", "hf", "--masters")
        before = AutoModelForCausalLM.from_pretrained(made).state_dict()
        after = AutoModelForCausalLM.from_pretrained(f"{at}-again").state_dict()
        common.check(before.keys() == after.keys() and all(torch.equal(before[k], after[k]) for k in before),
                     "converted and back: every weight is the library's, bit for bit")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", type=pathlib.Path, default=common.ROOT / "bazel-bin",
                        help="folder of the built binaries")
    parser.add_argument("--keep", type=pathlib.Path, help="new folder for the files, kept")
    arguments = parser.parse_args()
    tools = common.Binaries(arguments.bin)
    print(f"transformers {transformers.__version__}, torch {torch.__version__}")
    torch.set_num_threads(2)
    ids = torch.tensor([8 + b for b in common.TEXT.encode()])
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.keep or pathlib.Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        exported(tools, work, ids)
        imported(tools, work, ids)
    print(f"{len(common.failures)} failed" if common.failures else "all agree")
    sys.exit(1 if common.failures else 0)


if __name__ == "__main__":
    main()
