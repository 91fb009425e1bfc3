#!/usr/bin/env python3
"""Compares our byte-level BPE with PyPI's tokenizers: every id and every text must be the same.

Tokenizers in the style of GPT-2, Llama 3, Qwen 2, StarCoder and GPT-4o are trained here, from the
repository's own sources; more come with --tokenizer. Texts: those sources, those of --text, every
Unicode scalar value, and random ones that are made to be awkward.
"""

import argparse
import hashlib
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import time

try:
    import tokenizers
    from tokenizers import AddedToken, Regex, Tokenizer
    from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers
except ImportError as e:
    print(f"skipped: {e}")
    sys.exit(77)

ROOT = pathlib.Path(__file__).resolve().parents[2]
ANSWERS = ROOT / "bazel-bin/tests/conformance/tokenizer_answers"

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
GPT4O = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+"
    r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


# Letters, marks and digits of Unicode 15 and 16: PCRE2 10.42 knows those of Unicode 14, and takes them for
# signs. Oniguruma, which PyPI's uses, knows them.
NEWER = [
    (0x0897, 0x0897), (0x0CF3, 0x0CF3), (0x0ECE, 0x0ECE), (0x1C89, 0x1C8A), (0xA7CB, 0xA7CD), (0xA7DA, 0xA7DC), (0x105C0, 0x105F3), (0x10D40, 0x10D85),
    (0x10EC2, 0x10EFF), (0x1123F, 0x11240), (0x11380, 0x113E2), (0x116D0, 0x116E3), (0x11BC0, 0x11BF9),
    (0x11F00, 0x11F5A), (0x1342F, 0x143FA), (0x16100, 0x16139), (0x16D40, 0x16D79), (0x18CFF, 0x18CFF),
    (0x1B132, 0x1B155), (0x1CCF0, 0x1CCF9), (0x1D2C0, 0x1D2D3), (0x1DF25, 0x1DF2A), (0x1E030, 0x1E08F),
    (0x1E4D0, 0x1E4F9), (0x1E5D0, 0x1E5FA), (0x2B739, 0x2B739), (0x2EBF0, 0x2EE5D), (0x31350, 0x323AF),
]


def known(c):
    return not 0xD800 <= c < 0xE000 and not any(a <= c <= b for a, b in NEWER)


def split(pattern, behavior="isolated", invert=False):
    return pre_tokenizers.Split(Regex(pattern), behavior, invert)


def byte_level(prefix=False, regex=False):
    return pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=regex)


def train(texts, pre_tokenizer, special, vocabulary=3000, nfc=False, alphabet=True, bos=None):
    """bos: token that a prompt begins with, eos behind it: (bos, eos or None)."""
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizer
    t.decoder = decoders.ByteLevel()
    if nfc:
        t.normalizer = normalizers.NFC()
    letters = pre_tokenizers.ByteLevel.alphabet() if alphabet else []
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, initial_alphabet=letters, special_tokens=special, show_progress=False
    )
    t.train_from_iterator(texts, trainer)
    if bos:
        names = [n for n in bos if n]
        form = f"{bos[0]} $A" + (f" {bos[1]}" if bos[1] else "")
        t.post_processor = processors.Sequence(
            [
                processors.ByteLevel(trim_offsets=False),
                processors.TemplateProcessing(
                    single=form, special_tokens=[(n, t.token_to_id(n)) for n in names]
                ),
            ]
        )
    return t


def with_model(t, **changes):
    d = json.loads(t.to_str())
    d["model"].update(changes)
    return Tokenizer.from_str(json.dumps(d))


def string_merges(t):
    """The older form of the file: "a b" instead of ["a", "b"]."""
    d = json.loads(t.to_str())
    d["model"]["merges"] = [" ".join(m) for m in d["model"]["merges"]]
    return json.dumps(d)


def families(texts):
    gpt2 = train(texts, byte_level(regex=True), ["<|endoftext|>"])
    yield "gpt2", gpt2.to_str()
    yield "gpt2, merges as texts", string_merges(gpt2)
    yield "gpt2, prefix space", train(texts, byte_level(True, True), ["<s>"], 1000).to_str()
    llama3 = train(
        texts,
        pre_tokenizers.Sequence([split(LLAMA3), byte_level()]),
        ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", "<|start_header_id|>"],
        bos=("<|begin_of_text|>", None),
    )
    yield "llama3", llama3.to_str()
    yield "llama3, ignore_merges", with_model(llama3, ignore_merges=True).to_str()
    qwen2 = train(
        texts,
        pre_tokenizers.Sequence([split(QWEN2), byte_level()]),
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        nfc=True,
        bos=("<|im_start|>", "<|im_end|>"),
    )
    qwen2.add_tokens([AddedToken("<tool>", normalized=False), AddedToken("caf\u00e9", normalized=True)])
    qwen2.add_tokens([AddedToken("re\u0301sume\u0301", normalized=True)])
    yield "qwen2", qwen2.to_str()
    digits = pre_tokenizers.Sequence([pre_tokenizers.Digits(True), byte_level(regex=True)])
    yield "starcoder", train(texts, digits, ["<|endoftext|>"], 1000).to_str()
    runs = pre_tokenizers.Sequence([pre_tokenizers.Digits(False), byte_level(True, True)])
    yield "digits together, prefix space", train(texts, runs, ["<|endoftext|>"], 600).to_str()
    yield "gpt4o", train(
        texts, pre_tokenizers.Sequence([split(GPT4O), byte_level()]), ["<|endoftext|>"]
    ).to_str()
    # Added tokens of all kinds.
    t = train(texts, byte_level(regex=True), ["<|endoftext|>"], 600, nfc=True)
    t.add_tokens(
        [
            AddedToken("left", lstrip=True),
            AddedToken("right", rstrip=True),
            AddedToken("both", lstrip=True, rstrip=True, normalized=False),
            AddedToken("word", single_word=True),
            AddedToken("wordy", single_word=True, normalized=False),
            AddedToken("ab", normalized=False),
            AddedToken("abc", normalized=False),
            AddedToken("  ", normalized=False),
            AddedToken("\u00e9", normalized=False),
        ]
    )
    t.add_special_tokens([AddedToken("<a>", lstrip=True), AddedToken("<aa>", rstrip=True)])
    yield "added tokens", t.to_str()
    # Bytes without a token: left out, or unknown.
    small = train(["some plain words, no more than that"] * 3, byte_level(regex=True), ["<unk>"], 60, alphabet=False)
    yield "few bytes", small.to_str()
    yield "few bytes, unknown", with_model(small, unk_token="<unk>").to_str()
    yield "few bytes, unknown together", with_model(small, unk_token="<unk>", fuse_unk=True).to_str()
    for behavior in ("removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"):
        for invert in (False, True):
            steps = [split(r"[\s,.]|\d{2}", behavior, invert), byte_level()]
            yield f"{behavior}, invert {invert}", train(
                texts[:50], pre_tokenizers.Sequence(steps), ["<s>"], 400
            ).to_str()
    literal = [pre_tokenizers.Split(".*", "merged_with_next"), byte_level()]
    yield "literal", train(texts[:50], pre_tokenizers.Sequence(literal), ["<s>"], 400).to_str()


def awkward_texts(rng, count):
    parts = (
        ["'s", "'S", "'\u017f", "'LL", "'ve", "'", "\u2019s", " ", "  ", "\t", "\n", "\r\n", "\r", "\x0b", "\x85"]
        + ["\u00a0", "\u180e", "\u2003", "\u3000", "\u200b", "\ufeff", "\x00", "\x1c", "\u2028"]
        + ["a", "B", "word", "Word", "wordy", "left", "right", "both", "ab", "abc", "<a>", "<aa>", "<tool>"]
        + ["1", "12", "1234567", "\u0663", "\u00bd", "\u2167", "\u4e09", ".", "...", ".*", "!?", "/", "-"]
        + ["\u00e9", "e\u0301", "e\u0323\u0301", "e\u0301\u0323", "caf\u00e9", "cafe\u0301", "re\u0301sume\u0301"]
        + ["\u1e9b\u0323", "\u212b", "\ufb01", "\u0344", "\uac01", "\u1100\u1161\u11a8", "\u0958", "\u2126"]
        + ["\U0001f600", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea", "\u4e2d\u6587", "\u65e5\u672c\u8a9e"]
        + ["\ud55c\uad6d\uc5b4", "\u0440\u0443\u0441", "\u0639\u0631\u0628\u064a", "\u0e44\u0e17\u0e22", "\u093f", "_", "\u24b6"]
        + ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|eot_id|>", "<|begin_of_text|>", "<|", "|>", "<s>", "<unk>"]
    )
    for _ in range(count):
        n = rng.choice((1, 2, 3, 5, 8, 20))
        yield "".join(rng.choice(parts) * rng.choice((1, 1, 1, 1, 2, 3)) for _ in range(n))
    for _ in range(count // 4):
        n = rng.randrange(1, 60)
        points = (rng.randrange(rng.choice((0x80, 0x800, 0x3000, 0x10000, 0x110000))) for _ in range(n))
        yield "".join(chr(c) for c in points if known(c))
    for run in (" ", "\n", "a", "\u00e9", "ab", "\t ", "!", "1", "\u4e2d", "\u0301", "\u0301\u0323"):
        for n in (47, 48, 49, 50, 1000, 30000):
            yield run * n
            yield run * n + "x"
            yield "x" + run * n + "\n"


def every_scalar():
    for first in range(0, 0x110000, 16):
        points = (chr(c) for c in range(first, first + 16) if known(c))
        yield "\n".join("a" + c + "1" + c + " " + c for c in points)


class Ours:
    def __init__(self, path):
        self.process = subprocess.Popen(
            [ANSWERS, "--tokenizer", path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            encoding="utf-8", errors="surrogatepass",
        )

    def ask(self, **question):
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"tokenizer_answers ended at {str(question)[:300]}")
        return json.loads(answer)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def canonical_hash(definition):
    """docs/formats/tokenizer.md, written down a second time."""
    d, model, lines = definition, definition["model"], []
    ids = model["vocab"]
    steps, prefix, suffix = [], [], []

    def pre(p):
        if p["type"] == "Sequence":
            for inner in p["pretokenizers"]:
                pre(inner)
        elif p["type"] == "ByteLevel":
            if p["add_prefix_space"]:
                steps.append({"step": "prefix_space"})
            if p.get("use_regex", True):
                gpt2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
                steps.append(step(gpt2))
        elif p["type"] == "Digits":
            steps.append(step(r"\p{N}" if p["individual_digits"] else r"\p{N}+"))
        else:
            (kind, pattern), = p["pattern"].items()
            steps.append(step(pattern, kind == "String", p["behavior"], p["invert"]))

    def step(pattern, literal=False, behavior="Isolated", invert=False):
        return {"step": "split", "pattern": pattern, "literal": literal, "behavior": behavior, "invert": invert}

    def post(p):
        if p["type"] == "Sequence":
            for inner in p["processors"]:
                post(inner)
        elif p["type"] == "TemplateProcessing":
            into = prefix
            for part in p["single"]:
                if "Sequence" in part:
                    into = suffix
                else:
                    into.extend(p["special_tokens"][part["SpecialToken"]["id"]]["ids"])

    pre(d["pre_tokenizer"])
    if d.get("post_processor"):
        post(d["post_processor"])
    unk = model.get("unk_token")
    lines.append("tritter byte-level BPE 1")
    lines.append({
        "fuse_unk": model.get("fuse_unk", False), "ignore_merges": model.get("ignore_merges", False),
        "normalizer": d["normalizer"] and "NFC", "prefix": prefix, "suffix": suffix,
        "unk": ids[unk] if unk else None,
    })
    lines += steps
    for t in sorted(d["added_tokens"], key=lambda t: t["id"]):
        lines.append({"added" if k == "content" else k: v for k, v in t.items()})
    lines += [[token, i] for token, i in sorted(ids.items(), key=lambda x: x[1])]
    merges = [m.split(" ") if isinstance(m, str) else m for m in model["merges"]]
    lines += [[ids[a], ids[b]] for a, b in merges]
    text = "".join(
        (x if isinstance(x, str) else json.dumps(x, ensure_ascii=False, sort_keys=True, separators=(",", ":"))) + "\n"
        for x in lines
    )
    return hashlib.sha256(text.encode()).hexdigest()


def compare(name, source, texts, rng):
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as f:
        f.write(source)
        f.flush()
        theirs, ours = Tokenizer.from_file(f.name), Ours(f.name)
        wrong, tokens = [], 0

        def check(what, text, actual, expected):
            if actual != expected:
                wrong.append((what, text[:80], str(actual)[:200], str(expected)[:200]))

        check("hash", "", ours.ask(hash=0), canonical_hash(json.loads(source)))
        for i, text in enumerate(texts):
            expected = theirs.encode(text, add_special_tokens=False).ids
            tokens += len(expected)
            check("encode", text, ours.ask(encode=text), expected)
            if len(text) < 400 or i % 10 == 0:
                check("decode", text, ours.ask(decode=expected), theirs.decode(expected))
                check("prompt", text, ours.ask(prompt=text), theirs.encode(text).ids)
            if len(text) < 400:
                theirs.encode_special_tokens = True
                check("plain", text, ours.ask(plain=text), theirs.encode(text, add_special_tokens=False).ids)
                theirs.encode_special_tokens = False
        size = theirs.get_vocab_size() + 5
        for _ in range(300):
            ids = [rng.randrange(size) for _ in range(rng.randrange(1, 30))]
            check("decode ids", str(ids), ours.ask(decode=ids), theirs.decode(ids))
        # Bytes that are not UTF-8: PyPI's takes none, ours must give them back.
        vocabulary = json.loads(source)["model"]["vocab"]
        lossless = all(c in vocabulary for c in pre_tokenizers.ByteLevel.alphabet())
        for _ in range(200):
            raw = bytes(rng.choice((0x41, 0x20, 0xC3, 0xA9, 0xFF, 0xE2, 0x82, 0xF0)) for _ in range(20))
            ids = ours.ask(encode_hex=raw.hex())
            back = ours.ask(decode=ids)
            if lossless and "invert" not in name and "literal" not in name and "space" not in name and not json.loads(source)["normalizer"]:
                plain = [i for i in ids if not any(t["id"] == i for t in json.loads(source)["added_tokens"])]
                if plain == ids:
                    check("bytes", raw.hex(), back, raw.decode("utf-8", errors="replace"))
        ours.close()
    print(f"{name}: {len(texts)} texts, {tokens} tokens, {len(wrong)} differences", flush=True)
    for row in wrong[:5]:
        print("   ", *map(repr, row), sep="\n      ")
    return len(wrong)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--text", action="append", default=[], help="file or folder with more text")
    parser.add_argument("--tokenizer", action="append", default=[], help="more tokenizer.json")
    parser.add_argument("--random", type=int, default=1500, help="random texts")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--every-scalar", action="store_true", help="each Unicode scalar value")
    parser.add_argument("--bench", help="text file: speed of both instead")
    args = parser.parse_args()
    if not ANSWERS.exists():
        print("skipped: build //tests/conformance:tokenizer_answers first")
        return 77
    rng = random.Random(args.seed)
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    files = [ROOT / name for name in listed.stdout.splitlines()]
    for given in map(pathlib.Path, args.text):
        files += sorted(p for p in given.glob("**/*") if p.is_file()) if given.is_dir() else [given]
    real = []
    for path in files:
        try:
            real.append(path.read_bytes().decode()[:100_000])
        except UnicodeDecodeError:
            pass
    real = [t for t in real if t]
    print(f"tokenizers {tokenizers.__version__}, {len(real)} files, {sum(map(len, real))} characters")
    if args.bench:
        return bench(args, real)
    awkward = list(awkward_texts(rng, args.random))
    wrong = 0
    sample = rng.sample(real, min(len(real), 250))
    for name, source in families(sample):
        thorough = name in ("gpt2", "llama3", "qwen2", "gpt4o", "starcoder")
        wrong += compare(name, source, awkward + (real if thorough else sample[:20]), rng)
        # Of unknown bytes together the ids show where pieces end.
        if args.every_scalar and name in ("qwen2", "few bytes, unknown together"):
            wrong += compare(name + ", every scalar value", source, list(every_scalar()), rng)
    for path in args.tokenizer:
        wrong += compare(pathlib.Path(path).name, pathlib.Path(path).read_text(), awkward + sample, rng)
    print("all equal" if wrong == 0 else f"{wrong} differences")
    return 0 if wrong == 0 else 1


def bench(args, real):
    given = [(p, pathlib.Path(p).read_text()) for p in args.tokenizer]
    trained = (f for f in families(real[:250]) if f[0] in ("gpt2", "llama3", "qwen2"))
    for name, source in given or trained:
        with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as f:
            f.write(source)
            f.flush()
            text = pathlib.Path(args.bench).read_text()
            mb = len(text.encode()) / 1e6
            begin = time.monotonic()
            theirs = Tokenizer.from_file(f.name)
            load = time.monotonic() - begin
            encode = decode = 1e9
            for _ in range(3):
                begin = time.monotonic()
                ids = theirs.encode(text, add_special_tokens=False).ids
                encode = min(encode, time.monotonic() - begin)
                begin = time.monotonic()
                theirs.decode(ids)
                decode = min(decode, time.monotonic() - begin)
            ours = subprocess.run([ANSWERS, "--tokenizer", f.name, "--bench", args.bench], capture_output=True, text=True)
            print(f"{name}: tokenizers {{\"load_ms\": {load * 1e3:.1f}, \"tokens\": {len(ids)}, "
                  f"\"encode_mb_s\": {mb / encode:.1f}, \"decode_mb_s\": {mb / decode:.1f}}}; ours {ours.stdout.strip()}{ours.stderr}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
