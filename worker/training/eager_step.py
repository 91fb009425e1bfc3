#!/usr/bin/env python3
"""The anchor of the training bars: the same QAT step written the plain way in eager PyTorch, FP32.

usage: eager_step.py [--threads N] [--steps N] [--preset nano|gpt2]

Family tritter as docs/numerics.md describes it: BitLinear with straight-through estimators, QK-norm before RoPE, scaled dot
product attention by the library's fused kernel, relu²-gated FFN with its norm after, AdamW by the library's fused step, clipping
by global norm. Prints the median milliseconds of a step. Needs PyPI's torch; nothing else here does.
"""
import argparse
import statistics
import time

import torch
from torch import nn
from torch.nn import functional as F

SHAPES = {  # hidden, layers, heads, key/value heads, head size, FFN, vocabulary, tied, length, sequences
    "nano": (128, 4, 4, 2, 32, 384, 264, False, 128, 16),
    "gpt2": (768, 12, 12, 12, 64, 2048, 50304, True, 1024, 2),
}


class BitLinear(nn.Linear):
    def __init__(self, inner, outer):
        super().__init__(inner, outer, bias=False)

    def forward(self, x):
        s = self.weight.abs().mean(dim=1, keepdim=True).clamp(min=1e-5)
        w = self.weight + ((self.weight / s).round().clamp(-1, 1) * s - self.weight).detach()
        a = 127 / x.abs().amax(dim=-1, keepdim=True).clamp(min=1e-5)
        x = x + ((x * a).round().clamp(-128, 127) / a - x).detach()
        return F.linear(x, w)


class Block(nn.Module):
    def __init__(self, hidden, heads, kv_heads, size, ffn):
        super().__init__()
        self.heads, self.kv_heads, self.size = heads, kv_heads, size
        self.norm_in, self.norm_post = nn.RMSNorm(hidden, 1e-5), nn.RMSNorm(hidden, 1e-5)
        self.q_norm, self.k_norm = nn.RMSNorm(size, 1e-5), nn.RMSNorm(size, 1e-5)
        self.q, self.o = BitLinear(hidden, heads * size), BitLinear(heads * size, hidden)
        self.k, self.v = BitLinear(hidden, kv_heads * size), BitLinear(hidden, kv_heads * size)
        self.gate, self.up, self.down = BitLinear(hidden, ffn), BitLinear(hidden, ffn), BitLinear(ffn, hidden)

    def forward(self, x, cos, sin):
        batch, length, _ = x.shape

        def rotate(t):
            a, b = t.chunk(2, dim=-1)
            return t * cos + torch.cat((-b, a), dim=-1) * sin

        n = self.norm_in(x)
        q = self.q(n).view(batch, length, self.heads, self.size).transpose(1, 2)
        k = self.k(n).view(batch, length, self.kv_heads, self.size).transpose(1, 2)
        v = self.v(n).view(batch, length, self.kv_heads, self.size).transpose(1, 2)
        y = F.scaled_dot_product_attention(rotate(self.q_norm(q)), rotate(self.k_norm(k)), v, is_causal=True,
                                           enable_gqa=self.heads != self.kv_heads)
        h = x + self.o(y.transpose(1, 2).reshape(batch, length, -1))
        return self.norm_post(h + self.down(F.relu(self.gate(h)).square() * self.up(h)))


class Model(nn.Module):
    def __init__(self, shape):
        super().__init__()
        hidden, layers, heads, kv_heads, self.size, ffn, vocabulary, tied, _, _ = shape
        self.embedding = nn.Embedding(vocabulary, hidden)
        self.blocks = nn.ModuleList(Block(hidden, heads, kv_heads, self.size, ffn) for _ in range(layers))
        self.norm = nn.RMSNorm(hidden, 1e-5)
        self.head = nn.Linear(hidden, vocabulary, bias=False)
        nn.init.normal_(self.embedding.weight, std=0.02)
        if tied:
            self.head.weight = self.embedding.weight

    def forward(self, tokens):
        angles = torch.outer(torch.arange(tokens.shape[1]), 500000 ** (-torch.arange(0, self.size, 2) / self.size))
        cos, sin = (f(angles).repeat(1, 2) for f in (torch.cos, torch.sin))
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x, cos, sin)
        return self.head(self.norm(x))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--preset", choices=SHAPES, default="nano")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    shape = SHAPES[options.preset]
    vocabulary, length, sequences = shape[6], shape[8], shape[9]
    model = Model(shape)
    adamw = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    tokens = torch.randint(vocabulary, (sequences, length + 1))
    milliseconds = []
    for _ in range(options.steps + 1):
        begin = time.perf_counter()
        loss = F.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adamw.step()
        adamw.zero_grad()
        milliseconds.append((time.perf_counter() - begin) * 1e3)
    step = statistics.median(milliseconds[1:])  # the first one warms up
    print(f"eager PyTorch {torch.__version__}, {options.preset}, {options.threads} threads: {step:.1f} ms a step, "
          f"{sequences * length / step * 1e3:.0f} tokens/s")


main()
