// Shapes for the engine's tests: small, with odd sizes (tails in every kernel) and grouped KV
// heads.
#pragma once

#include "model/config.h"

namespace tritter {

inline ModelConfig TinyConfig() {
  ModelConfig c;
  c.hidden = 40;
  c.layers = 2;
  c.heads = 4;
  c.kv_heads = 2;
  c.head_dim = 10;
  c.ffn = 72;
  c.vocab = 270;
  c.context = 256;
  return c;
}

inline ModelConfig TinyBitnetConfig() {
  ModelConfig c = TinyConfig();
  c.family = Family::kBitnet;
  c.tied_embeddings = true;
  c.granularity = ScaleGranularity::kTensor;
  return c;
}

inline ModelConfig TinyLlamaConfig() {
  ModelConfig c = TinyConfig();
  c.family = Family::kLlama;
  c.granularity = ScaleGranularity::kTensor;
  return c;
}

// Attention that sees the last `window` positions and, if there are any, the first `sinks`.
inline ModelConfig Windowed(ModelConfig c, int64_t window, int64_t sinks = 0) {
  c.attention = sinks > 0 ? AttentionMode::kSinks : AttentionMode::kSlidingWindow;
  c.window = window;
  c.sinks = sinks;
  return c;
}

// Layers of a few pages each, that streaming may keep or fetch one by one; sizes as odd.
inline ModelConfig Deep(ModelConfig c, int64_t layers = 7) {
  c.layers = layers;
  c.hidden = 104;
  c.head_dim = 26;
  c.ffn = 328;
  return c;
}

}  // namespace tritter
