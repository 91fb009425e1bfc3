#!/usr/bin/env python3
"""A GGUF that we wrote, in llama.cpp or ik_llama.cpp: the perplexity is ours, within 1 %.

A small ternary model over bytes is trained for a few minutes on the shipped text (or given with --model, a
Hugging Face folder), so that perplexity means something, and converted: to .tpack, whose perplexity
docs/numerics.md defines, and to GGUF in several types, which the other program runs. Both take the same
windows of the text's held-out end and, as llama-perplexity does, count the second half of each.

Family llama is for llama.cpp (F32 and F16 leave activations as they are there, TQ1_0 and TQ2_0 quantise them
by blocks of 256), family bitnet for ik_llama.cpp, whose graph applies squared ReLU. Needs the packages of
tests/conformance/README.md; without them it says so and ends with 77.
"""
import argparse
import math
import pathlib
import re
import subprocess
import sys
import tempfile

from hf_bitnet import ROOT, Binaries, load_file, save_file, torch, transformers

from transformers import AutoModelForCausalLM, BitNetConfig, LlamaConfig
from transformers.integrations import bitnet

TEXT = ROOT / "examples" / "shakespeare" / "input.txt"
LIMIT = 0.01
TYPES = {"llama": ["f32", "f16", "tq2_0", "tq1_0"], "bitnet": ["f32", "f16"]}
QUANTIZED = {"quant_method": "bitnet", "linear_class": "autobitlinear", "quantization_mode": "online"}


def train(family, text, folder, steps, context):
    """A model of the library with its own quantisation-aware layers, trained and saved."""
    torch.manual_seed(1)
    kind = LlamaConfig if family == "llama" else BitNetConfig
    config = kind(vocab_size=264, hidden_size=256, intermediate_size=512, num_hidden_layers=3, num_attention_heads=4,
                  num_key_value_heads=2, max_position_embeddings=context, bos_token_id=1, eos_token_id=2,
                  pad_token_id=0, tie_word_embeddings=True)
    model = AutoModelForCausalLM.from_config(config)
    for name, module in list(model.named_modules()):
        if not isinstance(module, torch.nn.Linear) or name == "lm_head":
            continue
        linear = bitnet.AutoBitLinear(module.in_features, module.out_features, bias=False, online_quant=True)
        linear.weight = module.weight
        parent, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(parent), leaf, linear)
    data = torch.tensor([8 + b for b in text])
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.95), weight_decay=0.01)
    model.train()
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = 3e-3 * min((step + 1) / 20, 1) * (1 - step / steps)
        starts = torch.randint(len(data) - context - 1, (8,))
        batch = torch.stack([data[s:s + context] for s in starts])
        loss = model(batch, labels=batch).loss
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        if step % 50 == 0 or step == steps - 1:
            print(f"  step {step}: loss {loss.item():.3f}", flush=True)
    model.config.quantization_config = QUANTIZED
    model.save_pretrained(folder)


def ours(tools, tpack, windows, work):
    """Perplexity of the second half of each window, activations in int8."""
    nats = count = 0
    for ids in windows:
        given, computed = work / "given.safetensors", work / "computed.safetensors"
        save_file({"tokens": ids}, given)
        tools.run(tools.model, "forward", "--model", tpack, "--tokens", given, "--out", computed)
        logits, first = load_file(computed)["logits"].double(), len(ids) // 2
        nats += torch.nn.functional.cross_entropy(logits[first:-1], ids[first + 1:], reduction="sum").item()
        count += len(ids) - 1 - first
    return math.exp(nats / count)


def elsewhere(binary, gguf, text, context, chunks, flags):
    command = [binary, "-m", gguf, "-f", text, "-c", context, "-b", context, "--chunks", chunks, "-t", 2, *flags]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, errors="replace",
                          cwd=gguf.parent)  # where it leaves its log
    found = re.search(r"Final estimate: PPL (?:over \d+ chunks for n_ctx=\d+ )?= ([0-9.]+)", done.stdout + done.stderr)
    if done.returncode != 0 or not found:
        sys.exit(f"{' '.join(map(str, command))}: exit {done.returncode}\n{(done.stdout + done.stderr)[-3000:]}")
    return float(found[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--llama-perplexity", type=pathlib.Path, required=True,
                        help="of llama.cpp or ik_llama.cpp; a whole path")
    parser.add_argument("--flag", action="append", default=[], help="given to it as it is, e.g. --flag=-no-fa")
    parser.add_argument("--family", choices=TYPES, default="llama")
    parser.add_argument("--types", help="of the ternary matrices, with commas; those that llama.cpp reads")
    parser.add_argument("--model", type=pathlib.Path, help="Hugging Face folder over bytes, instead of training one")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--context", type=int, default=256)
    parser.add_argument("--chunks", type=int, default=8)
    parser.add_argument("--bin", type=pathlib.Path, default=ROOT / "bazel-bin", help="folder of the built binaries")
    parser.add_argument("--keep", type=pathlib.Path, help="new folder for the files, kept")
    arguments = parser.parse_args()
    tools = Binaries(arguments.bin)
    torch.set_num_threads(2)
    text = TEXT.read_bytes()
    held_out = text[-len(text) // 10:]
    context, chunks = arguments.context, arguments.chunks
    failed = 0
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.keep or pathlib.Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        model = arguments.model
        if model is None:
            print(f"training family {arguments.family}, transformers {transformers.__version__}")
            model = work / "trained"
            train(arguments.family, text[:-len(held_out)], model, arguments.steps, context)
        tpack, end = work / "m.tpack", work / "held_out.txt"
        tools.run(tools.ctl, "convert", model, tpack, "--to", "tpack")
        end.write_bytes(held_out[:(chunks + 1) * context])
        windows = [torch.tensor([8 + b for b in held_out[i * context:(i + 1) * context]]) for i in range(chunks)]
        want = ours(tools, tpack, windows, work)
        print(f"  ours: perplexity {want:.4f}")
        for kind in arguments.types.split(",") if arguments.types else TYPES[arguments.family]:
            gguf = work / f"{kind}.gguf"
            plain = "f32" if kind == "f32" else "f16"
            tools.run(tools.ctl, "convert", tpack, gguf, "--to", "gguf", "--type", kind, "--embeddings", plain)
            got = elsewhere(arguments.llama_perplexity, gguf, end, context, chunks, arguments.flag)
            ok = abs(got / want - 1) <= LIMIT
            failed += not ok
            print(f"  {'ok    ' if ok else 'FAILED'} {kind}: perplexity {got:.4f} there, {100 * (got / want - 1):+.2f} %, "
                  f"expected within {100 * LIMIT:g} %")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
