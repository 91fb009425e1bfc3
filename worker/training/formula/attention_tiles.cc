#include "worker/training/formula/attention_tiles.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>
#include <optional>

namespace tritter {
namespace {

// Fused kernels want the number of keys to be a multiple of this, and copy masks that are not.
constexpr int64_t kAlignment = 16;
int64_t RoundDown(int64_t n) { return n / kAlignment * kAlignment; }
int64_t RoundUp(int64_t n) { return RoundDown(n + kAlignment - 1); }

// The keys of every query of a tile, [sequences · queries], and those of the tile: counted from the
// tile's first query but for the sinks. Equal ones have equal masks.
struct TileRanges {
  std::vector<int64_t> sinks, begin, end;
  int64_t tile_sinks = 0, tile_begin = 0, tile_end = 0;
  bool operator==(const TileRanges&) const = default;
};

at::Tensor MaskOfRanges(const TileRanges& ranges, const AttentionTile& tile, int64_t sequences,
                        const at::TensorOptions& options) {
  const auto indices = at::device(options.device()).dtype(at::kLong);
  const auto column = [&](const std::vector<int64_t>& values) {
    return at::tensor(at::ArrayRef<int64_t>(values))
        .to(options.device())
        .view({sequences, 1, tile.queries, 1});
  };
  const at::Tensor keys = at::cat({at::arange(tile.sinks, indices),
                                   at::arange(tile.key_begin, tile.key_end, indices)}),
                   from_query = keys - tile.query;
  const at::Tensor visible = (keys < column(ranges.sinks)) | ((from_query >= column(ranges.begin)) &
                                                              (from_query < column(ranges.end)));
  return at::zeros(visible.sizes(), options)
      .masked_fill_(visible.logical_not(), -std::numeric_limits<float>::infinity());
}

}  // namespace

std::vector<AttentionTile> AttentionTiles(absl::Span<const AttentionMask> masks, int64_t block,
                                          const at::TensorOptions& options) {
  const int64_t length = masks.front().length, sequences = static_cast<int64_t>(masks.size());
  std::vector<AttentionTile> tiles;
  TileRanges last;  // of last_mask
  at::Tensor last_mask;
  for (int64_t query = 0; query < length; query += block) {
    AttentionTile tile;
    tile.query = query;
    tile.queries = std::min(block, length - query);
    tile.key_begin = length;
    std::vector<KeyRanges> keys(sequences * tile.queries);
    for (int64_t s = 0; s < sequences; ++s)
      KeysOfTile(masks[s], query, tile.queries, keys.data() + s * tile.queries);
    TileRanges ranges;
    bool all_seen = true;
    for (const KeyRanges& k : keys) {
      tile.sinks = std::max(tile.sinks, k.sinks);
      tile.key_begin = std::min(tile.key_begin, k.begin);
      tile.key_end = std::max(tile.key_end, k.end);
      ranges.sinks.push_back(k.sinks);
      ranges.begin.push_back(k.begin - query);
      ranges.end.push_back(k.end - query);
      all_seen = all_seen && k.sinks == 0 && k.begin == keys[0].begin && k.end == keys[0].end;
    }
    if (!all_seen) {
      tile.sinks = RoundUp(tile.sinks);
      tile.key_begin = RoundDown(tile.key_begin);
      tile.key_end = std::min(length, RoundUp(tile.key_end));
      if (tile.sinks >= tile.key_begin) tile.sinks = tile.key_begin = 0;
      ranges.tile_sinks = tile.sinks;
      ranges.tile_begin = tile.key_begin - query;
      ranges.tile_end = tile.key_end - query;
      if (!last_mask.defined() || !(ranges == last)) {
        last_mask = MaskOfRanges(ranges, tile, sequences, options);
        last = std::move(ranges);
      }
      tile.mask = last_mask;
    }
    tiles.push_back(std::move(tile));
  }
  return tiles;
}

at::Tensor AttendInTiles(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                         const std::vector<AttentionTile>& tiles) {
  // The fused kernels that take a mask know no groups of heads.
  const int64_t group = q.size(1) / k.size(1);
  const at::Tensor keys = group > 1 ? k.repeat_interleave(group, 1) : k,
                   values = group > 1 ? v.repeat_interleave(group, 1) : v;
  const auto seen = [](const at::Tensor& all, const AttentionTile& tile) {
    const at::Tensor near = all.narrow(2, tile.key_begin, tile.key_end - tile.key_begin);
    return tile.sinks > 0 ? at::cat({all.narrow(2, 0, tile.sinks), near}, 2) : near;
  };
  const std::vector<at::Tensor> queries = q.split(tiles.front().queries, 2);
  std::vector<at::Tensor> outputs;
  for (size_t i = 0; i < tiles.size(); ++i) {
    const AttentionTile& tile = tiles[i];
    const std::optional<at::Tensor> mask =
        tile.mask.defined() ? std::optional<at::Tensor>(tile.mask) : std::nullopt;
    outputs.push_back(
        at::scaled_dot_product_attention(queries[i], seen(keys, tile), seen(values, tile), mask));
  }
  return at::cat(outputs, 2);
}

}  // namespace tritter
