#include "model/tensor_values.h"

#include <cmath>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "kernels/half.h"

namespace tritter {
namespace {

std::string Described(const std::vector<int64_t>& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

template <typename T>
T Load(const uint8_t* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof(T));
  return value;
}

float ValueAt(const TensorView& view, size_t i) {
  const uint8_t* bytes = view.bytes.data() + i * static_cast<size_t>(DTypeBytes(view.dtype));
  switch (view.dtype) {
    case DType::kBF16:
      return FromBF16(Load<uint16_t>(bytes));
    case DType::kF16:
      return HalfToFloat(Load<uint16_t>(bytes));
    case DType::kF64:
      return static_cast<float>(Load<double>(bytes));
    default:
      return Load<float>(bytes);
  }
}

}  // namespace

TensorNames::TensorNames(const SafetensorsSet* set) : set_(set) {
  for (std::string& name : set->names()) left_.insert(std::move(name));
}

absl::Status TensorNames::Expect(const std::string& name, const std::vector<DType>& types,
                                 const std::vector<int64_t>& shape) {
  const absl::StatusOr<TensorView> view = set_->Get(name);
  if (!view.ok()) {
    return absl::DataLossError(absl::StrCat(set_->path(), ": tensor `", name,
                                            "` is missing, expected ", Described(shape)));
  }
  left_.erase(name);
  for (const DType type : types) {
    if (view->dtype == type && view->shape == shape) return absl::OkStatus();
  }
  const auto type_name = [](std::string* out, DType type) { out->append(DTypeName(type)); };
  return absl::DataLossError(absl::StrCat(set_->PathOf(name), ": tensor `", name, "` is ",
                                          DTypeName(view->dtype), " ", Described(view->shape),
                                          ", expected ", absl::StrJoin(types, " or ", type_name),
                                          " ", Described(shape)));
}

absl::Status TensorNames::Finish() const {
  if (left_.empty()) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(set_->PathOf(*left_.begin()), ": tensor `",
                                          *left_.begin(), "` does not belong to this model (and ",
                                          left_.size() - 1, " more)"));
}

absl::StatusOr<absl::Span<const float>> FiniteFloats(const TensorView& view,
                                                     const std::string& path,
                                                     const std::string& name,
                                                     std::vector<float>* buffer) {
  const size_t count = view.bytes.size() / static_cast<size_t>(DTypeBytes(view.dtype));
  const bool aligned = reinterpret_cast<uintptr_t>(view.bytes.data()) % alignof(float) == 0;
  absl::Span<const float> values;
  if (view.dtype == DType::kF32 && aligned) {
    values = {reinterpret_cast<const float*>(view.bytes.data()), count};
  } else {
    buffer->resize(count);
    for (size_t i = 0; i < count; ++i) (*buffer)[i] = ValueAt(view, i);
    values = *buffer;
  }
  for (size_t i = 0; i < count; ++i) {
    if (!std::isfinite(values[i])) {
      return absl::FailedPreconditionError(absl::StrCat(path, ": tensor `", name, "`, element ", i,
                                                        " is ", values[i],
                                                        ", expected a finite number"));
    }
  }
  return values;
}

}  // namespace tritter
