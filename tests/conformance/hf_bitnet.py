#!/usr/bin/env python3
"""Family bitnet against the transformers library, both ways.

Random weights are exported with `tritterctl export --format hf` and computed by the library; a model
that the library made is imported with `tritterctl import`. Compared are, over one prompt:
  float   logits with the activation quantiser left out on both sides: |a - b| / |b| <= 1e-4
  layers  every layer on the library's own inputs, int8: >= 99 % of tokens within 1e-5 (relative)
  ppl     perplexity, int8: within 0.1 %
The last bit of a float flips an int8 code here and there and the difference spreads, so that two
correct programs end about 1e-2 apart end to end: that is why int8 is compared layer by layer. Of
FP32 masters the library computes W (1 / s) with s summed in FP32, we W / s with s summed in FP64: a
weight on the border between two codes may get the other one; how many do is counted, and then only
perplexity has a limit. The packed form, which is what is exported by default, has no such border.

Needs the packages of tests/conformance/README.md; without them it says so and ends with 77.
"""
import argparse
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile
import types

os.environ["TORCHDYNAMO_DISABLE"] = "1"  # the library compiles its quantisers: not needed here
os.environ["HF_HUB_OFFLINE"] = "1"
try:
    import torch
    import transformers
    import accelerate  # noqa: F401  (asked for by the library's bitnet quantiser)
    from safetensors.torch import load_file, save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitNetConfig, BitNetForCausalLM
    from transformers.integrations import bitnet
except ImportError as error:
    print(f"skipped: {error} (tests/conformance/README.md names the packages)")
    sys.exit(77)  # as automake and others say it

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEXT = """The mind is its own place, and in itself can make a heaven of hell, a hell of heaven.
What matter where, if I be still the same, and what I should be, all but less than he whom thunder
hath made greater? Héllo, 世界 <eos> <pad>.\n""" + __doc__[:250]
FLOAT_LIMIT, LAYER_LIMIT, LAYER_SHARE, PPL_LIMIT = 1e-4, 1e-5, 0.99, 1e-3

failures = []


def check(ok, line):
    print(f"  {'ok    ' if ok else 'FAILED'} {line}")
    if not ok:
        failures.append(line)


class Binaries:
    def __init__(self, folder):
        self.ctl = folder / "tritterctl" / "tritterctl"
        self.model = folder / "tests" / "conformance" / "conformance_model"
        for path in (self.ctl, self.model):
            if not path.exists():
                sys.exit(f"{path}: missing; run: bazel build //tritterctl //tests/conformance:conformance_model")

    def run(self, binary, *arguments):
        done = subprocess.run([binary, *map(str, arguments)], capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"{binary.name} {' '.join(map(str, arguments))}: exit {done.returncode}\n{done.stderr}")
        return done.stdout


def perplexity(logits, ids):
    return math.exp(torch.nn.functional.cross_entropy(logits[:-1].double(), ids[1:]).item())


def library_numbers(model, ids):
    """Logits, and input and output of every layer."""
    inputs, outputs, hooks = {}, {}, []
    for i, layer in enumerate(model.model.layers):
        def keep(_, args, kwargs, out, i=i):
            given = args[0] if args else kwargs["hidden_states"]
            inputs[i] = given[0].detach().clone()
            outputs[i] = (out[0] if isinstance(out, tuple) else out)[0].detach().clone()
        hooks.append(layer.register_forward_hook(keep, with_kwargs=True))
    with torch.no_grad():
        logits = model(ids[None]).logits[0].float()
    for hook in hooks:
        hook.remove()
    return logits, inputs, outputs


def without_activation_quantiser(model, ids):
    kept = bitnet.ActQuant
    bitnet.ActQuant = types.SimpleNamespace(apply=lambda x: x)
    try:
        return library_numbers(model, ids)[0]
    finally:
        bitnet.ActQuant = kept


def codes_apart(masters, packed):
    """Weights of a folder of FP32 masters that the library rounds otherwise, and all of them."""
    ours = {}
    for path in packed.glob("*.safetensors"):
        ours.update(load_file(path))
    apart = count = 0
    for name, weight in load_file(masters / "model.safetensors").items():
        if f"{name}_scale" in ours:
            want = bitnet.unpack_weights(ours[name], torch.float32)
            apart += (torch.sign(bitnet.WeightQuant.apply(weight)) != want).sum().item()
            count += weight.numel()
    return apart, count


def compare(name, tools, folder, tpack, ids, work, apart=0):
    """The library's numbers of `folder` against ours of `tpack`; `apart`: codes known to differ."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    kinds = {type(m).__name__ for m in model.modules()} & {"AutoBitLinear", "BitLinear"}
    print(f"{name} ({', '.join(sorted(kinds))}):")
    check(len(kinds) == 1, "the library runs ternary layers")
    theirs, inputs, outputs = library_numbers(model, ids)
    given, computed = work / "given.safetensors", work / "computed.safetensors"
    save_file({"tokens": ids, **{f"layer_inputs.{i}": x.contiguous() for i, x in inputs.items()}}, given)
    tools.run(tools.model, "forward", "--model", tpack, "--tokens", given, "--out", computed)
    ours = load_file(computed)
    tokens = close = 0
    for i, theirs_out in outputs.items():
        error = (ours[f"layer_outputs.{i}"] - theirs_out).norm(dim=1) / theirs_out.norm(dim=1)
        close += (error <= LAYER_LIMIT).sum().item()
        tokens += len(error)
    check(apart > 0 or close >= LAYER_SHARE * tokens, f"layers: {close} of {tokens} tokens within {LAYER_LIMIT:g}, "
          f"{100 * close / tokens:.2f} %, expected >= {100 * LAYER_SHARE:g} %")
    a, b = perplexity(ours["logits"], ids), perplexity(theirs, ids)
    check(abs(a / b - 1) <= PPL_LIMIT, f"ppl: ours {a:.5f}, theirs {b:.5f}, {100 * abs(a / b - 1):.4f} % apart, "
          f"expected <= {100 * PPL_LIMIT:g} %")
    if kinds == {"AutoBitLinear"}:  # the other has no seam for it
        tools.run(tools.model, "forward", "--model", tpack, "--tokens", given, "--out", computed, "--float-activations")
        ours, theirs = load_file(computed)["logits"], without_activation_quantiser(model, ids)
        error = ((ours - theirs).norm() / theirs.norm()).item()
        check(apart > 0 or error <= FLOAT_LIMIT, f"float: |d|/|logits| {error:.2e}, expected <= {FLOAT_LIMIT:g}")


def exported(tools, work, ids):
    for shape, flags in {"tied": [], "untied": ["--untied", "--kv-heads", "6", "--seed", "2"],
                         "wide": ["--hidden", "256", "--heads", "4", "--ffn", "512", "--vocab", "1000",
                                  "--rope-theta", "500000", "--layers", "6", "--kv-heads", "1"]}.items():
        at = work / shape
        at.mkdir()
        tools.run(tools.model, "random", "--out", at / "m.safetensors", *flags)
        tools.run(tools.ctl, "import", at / "m.safetensors", "--format", "checkpoint", "--file", at / "checkpoint")
        tools.run(tools.ctl, "export", at / "checkpoint", "--file", at / "m.tpack")
        tools.run(tools.ctl, "export", at / "checkpoint", "--format", "hf", "--masters", "--file", at / "masters")
        tools.run(tools.ctl, "export", at / "checkpoint", "--format", "hf", "--file", at / "packed",
                  "--max-shard-size", "200kB")
        compare(f"exported, {shape}", tools, at / "packed", at / "m.tpack", ids, work)
        apart, count = codes_apart(at / "masters", at / "packed")
        compare(f"exported, {shape}, FP32 masters", tools, at / "masters", at / "m.tpack", ids, work, apart)
        check(apart <= 1e-5 * count, f"codes: the library rounds {apart} of {count} weights to another one"
              f"{' (layers and float are then for information)' if apart else ''}, expected <= 1e-5 of them")
        if shape == "tied":
            tokenizer = AutoTokenizer.from_pretrained(at / "packed")
            got = tokenizer(TEXT).input_ids
            check(got == [8 + b for b in TEXT.encode()] and tokenizer.decode(got) == TEXT,
                  "tokenizer: the same ids, and the text back")
            inverse = as_bitlinear(at / "packed", at / "inverse")
            tools.run(tools.ctl, "import", inverse, "--file", at / "inverse.tpack")
            compare("imported, weight_scale 1/mean|W|", tools, inverse, at / "inverse.tpack", ids, work)


def as_bitlinear(packed, folder):
    """The same model in the form whose scales are inverse, in one file."""
    folder.mkdir()
    tensors = {}
    for path in packed.glob("*.safetensors"):
        tensors.update(load_file(path))
    for name in tensors:
        if name.endswith("weight_scale"):
            tensors[name] = 1 / tensors[name]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((packed / "config.json").read_text())
    config["quantization_config"]["linear_class"] = "bitlinear"
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def imported(tools, work, ids):
    for name, extra in {"tied": {"tie_word_embeddings": True}, "untied": {"tie_word_embeddings": False}}.items():
        torch.manual_seed(5)
        config = BitNetConfig(vocab_size=300, hidden_size=128, intermediate_size=192, num_hidden_layers=4,
                              num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512,
                              bos_token_id=1, eos_token_id=2, pad_token_id=0, initializer_range=0.1,
                              quantization_config={"quant_method": "bitnet", "linear_class": "autobitlinear",
                                                   "quantization_mode": "online"}, **extra)
        made, at = work / f"made-{name}", work / f"imported-{name}"
        BitNetForCausalLM(config).save_pretrained(made, max_shard_size="300kB")
        tools.run(tools.ctl, "import", made, "--file", f"{at}.tpack")
        compare(f"imported, made by the library, {name}", tools, made, f"{at}.tpack", ids, work)
        tools.run(tools.ctl, "import", made, "--format", "checkpoint", "--file", f"{at}-checkpoint")
        tools.run(tools.ctl, "export", f"{at}-checkpoint", "--format", "hf", "--masters", "--file", f"{at}-again")
        before = AutoModelForCausalLM.from_pretrained(made).state_dict()
        after = AutoModelForCausalLM.from_pretrained(f"{at}-again").state_dict()
        check(before.keys() == after.keys() and all(torch.equal(before[k], after[k]) for k in before),
              "imported and exported again: every weight is the library's, bit for bit")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", type=pathlib.Path, default=ROOT / "bazel-bin", help="folder of the built binaries")
    parser.add_argument("--keep", type=pathlib.Path, help="new folder for the files, kept")
    arguments = parser.parse_args()
    tools = Binaries(arguments.bin)
    print(f"transformers {transformers.__version__}, torch {torch.__version__}")
    torch.set_num_threads(2)
    ids = torch.tensor([8 + b for b in TEXT.encode()])
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.keep or pathlib.Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        exported(tools, work, ids)
        imported(tools, work, ids)
    print(f"{len(failures)} failed" if failures else "all agree")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
