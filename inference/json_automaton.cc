#include "inference/json_automaton.h"

#include <algorithm>
#include <utility>

namespace tritter {
namespace {

using Kind = JsonNode::Kind;

// JsonFrame::at.
enum At : uint8_t {
  kValue,        // its first byte
  kObjectFirst,  // first key or }; a: next property
  kObjectNext,   // comma or }; a: next property
  kObjectKey,    // a key, behind a comma; a: next property
  kObjectColon,  // a: next property, b: node of the value
  kKey,          // a: property, b: bytes of its key that are written
  kOtherKey,     // a, b: names that begin like it, c: bytes that are written; part: Character
  kArrayFirst,   // first item or ]
  kArrayNext,    // comma or ]; a: items
  kString,       // a: characters; part: Character
  kNumber,       // a: digits in a row; part: Number
  kLiterals,     // a, b: literals that begin like it, c: bytes that are written
};

// Inside a string: which bytes the character that has begun still needs.
enum Character : uint8_t {
  kBetween,
  kOneMore,  // continuation bytes
  kTwoMore,
  kThreeMore,
  kAfterE0,  // no overlong forms, no surrogates, nothing above U+10FFFF
  kAfterEd,
  kAfterF0,
  kAfterF4,
  kEscape,
  kHex1,
  kHex2,
  kHex2AfterD,  // surrogates are not written as escapes
  kHex3,
  kHex4,
};

enum Number : uint8_t { kMinus, kZero, kInteger, kPoint, kFraction, kE, kESign, kExponent };
// Readers get the number that is written: 64-bit integers and finite doubles.
constexpr int32_t kMaxDigits = 18, kMaxFractionDigits = 17, kMaxExponentDigits = 2;

bool IsWhitespace(uint8_t c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }
bool IsDigit(uint8_t c) { return c >= '0' && c <= '9'; }
bool IsHex(uint8_t c) { return IsDigit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }

// The part behind `c`, a byte of a character that has begun; -1: it does not fit.
int NextPart(uint8_t part, uint8_t c) {
  const auto within = [&](uint8_t low, uint8_t high, Character then) {
    return c >= low && c <= high ? static_cast<int>(then) : -1;
  };
  switch (part) {
    case kOneMore:
      return within(0x80, 0xbf, kBetween);
    case kTwoMore:
      return within(0x80, 0xbf, kOneMore);
    case kThreeMore:
      return within(0x80, 0xbf, kTwoMore);
    case kAfterE0:
      return within(0xa0, 0xbf, kOneMore);
    case kAfterEd:
      return within(0x80, 0x9f, kOneMore);
    case kAfterF0:
      return within(0x90, 0xbf, kTwoMore);
    case kAfterF4:
      return within(0x80, 0x8f, kTwoMore);
    case kEscape:
      if (c == 'u') return kHex1;
      return c == '"' || c == '\\' || c == '/' || c == 'b' || c == 'f' || c == 'n' || c == 'r' ||
                     c == 't'
                 ? kBetween
                 : -1;
    case kHex1:
      return !IsHex(c) ? -1 : c == 'd' || c == 'D' ? kHex2AfterD : kHex2;
    case kHex2AfterD:
      return within('0', '7', kHex3);
    case kHex2:
      return IsHex(c) ? kHex3 : -1;
    case kHex3:
      return IsHex(c) ? kHex4 : -1;
    case kHex4:
      return IsHex(c) ? kBetween : -1;
    default:
      return -1;
  }
}

// The same for the first byte of a character that is written as it is.
int FirstPart(uint8_t c) {
  if (c < 0x20 || c == '"' || c == '\\') return -1;
  if (c < 0x80) return kBetween;
  if (c < 0xc2 || c > 0xf4) return -1;
  if (c < 0xe0) return kOneMore;
  if (c == 0xe0) return kAfterE0;
  if (c == 0xed) return kAfterEd;
  if (c < 0xf0) return kTwoMore;
  if (c == 0xf0) return kAfterF0;
  return c == 0xf4 ? kAfterF4 : kThreeMore;
}

// Of sorted words [*low, *high) that are equal in their first `place` bytes, those with `c` next.
void Narrow(const std::vector<std::string>& words, int32_t place, uint8_t c, int32_t* low,
            int32_t* high) {
  const auto first = words.begin() + *low, last = words.begin() + *high;
  const auto byte = [&](const std::string& w) {
    return static_cast<int>(w.size()) > place ? static_cast<uint8_t>(w[static_cast<size_t>(place)])
                                              : -1;
  };
  const auto from =
      std::partition_point(first, last, [&](const std::string& w) { return byte(w) < c; });
  const auto to =
      std::partition_point(from, last, [&](const std::string& w) { return byte(w) == c; });
  *low = static_cast<int32_t>(from - words.begin());
  *high = static_cast<int32_t>(to - words.begin());
}

bool Ends(const std::string& word, int32_t place) {
  return static_cast<int32_t>(word.size()) == place;
}

}  // namespace

// One step of every reading.
class JsonAutomaton::Stepper {
 public:
  Stepper(const JsonAutomaton& automaton, int32_t whitespace, uint8_t byte, JsonState* to)
      : automaton_(automaton), whitespace_(whitespace), byte_(byte), to_(to) {
    to_->stacks.clear();
    to_->whitespace = 0;
  }

  void Feed(JsonStack s) {
    if (s.empty()) return;
    JsonFrame& f = s.back();
    const JsonNode& n = automaton_.node(f);
    switch (f.at) {
      case kValue:
        if (!Whitespace(s)) Begin(s, f.node);
        return;
      case kObjectFirst:
      case kObjectNext:
        if (Whitespace(s)) return;
        if (byte_ == '}') {
          if (AllWritten(n, f.a)) Pop(s);
        } else if (f.at == kObjectFirst) {
          if (byte_ == '"') BeginKey(s);
        } else if (byte_ == ',' && (f.a < static_cast<int32_t>(n.properties.size()) ||
                                    n.other != JsonNode::kNone)) {
          f.at = kObjectKey;
          Keep(s);
        }
        return;
      case kObjectKey:
        if (!Whitespace(s) && byte_ == '"') BeginKey(s);
        return;
      case kObjectColon:
        if (Whitespace(s) || byte_ != ':') return;
        f.at = kObjectNext;
        s.push_back({kValue, 0, std::exchange(f.b, 0)});
        Keep(s);
        return;
      case kKey: {
        const std::string& key = n.properties[static_cast<size_t>(f.a)].key;
        if (static_cast<uint8_t>(key[static_cast<size_t>(f.b)]) != byte_) return;
        if (Ends(key, ++f.b)) s.pop_back();
        Keep(s);
        return;
      }
      case kOtherKey:
        FeedOtherKey(s, n);
        return;
      case kArrayFirst:
        if (Whitespace(s)) return;
        if (byte_ == ']') {
          if (n.min == 0) Pop(s);
        } else if (n.max > 0) {
          f.at = kArrayNext;
          f.a = 1;
          s.push_back({kValue, 0, n.items});
          Feed(std::move(s));
        }
        return;
      case kArrayNext:
        if (Whitespace(s)) return;
        if (byte_ == ']' && f.a >= n.min) Pop(s);
        if (byte_ == ',' && f.a < n.max) {
          ++f.a;
          s.push_back({kValue, 0, n.items});
          Keep(s);
        }
        return;
      case kString:
        FeedString(s, n);
        return;
      case kNumber:
        FeedNumber(s, n);
        return;
      case kLiterals:
        FeedLiterals(s, n);
        return;
      default:
        return;
    }
  }

  bool Finish() {
    std::vector<JsonStack>& stacks = to_->stacks;
    if (stacks.size() > 1) {
      std::sort(stacks.begin(), stacks.end());
      stacks.erase(std::unique(stacks.begin(), stacks.end()), stacks.end());
      if (stacks.size() > kMaxReadings) stacks.resize(kMaxReadings);
    }
    return !stacks.empty();
  }

 private:
  void Keep(JsonStack& s) { to_->stacks.push_back(std::move(s)); }
  void Pop(JsonStack& s) {
    s.pop_back();
    Keep(s);
  }
  // Whether the byte is whitespace, which is then dealt with.
  bool Whitespace(JsonStack& s) {
    if (!IsWhitespace(byte_)) return false;
    const bool blank = byte_ == ' ' || byte_ == '\t';
    if (whitespace_ == 0 && (byte_ == ' ' || byte_ == '\n')) {
      to_->whitespace = byte_ == ' ' ? -1 : 1;
      Keep(s);
    } else if (whitespace_ > 0 && whitespace_ <= kMaxIndent && blank) {
      to_->whitespace = whitespace_ + 1;
      Keep(s);
    }
    return true;
  }

  // Puts a value in the place of the top.
  void Begin(JsonStack& s, int32_t index) {
    const JsonNode& n = automaton_.grammar_.nodes[static_cast<size_t>(index)];
    const auto become = [&](JsonFrame frame) {
      frame.node = index;
      s.back() = frame;
      Keep(s);
    };
    switch (n.kind) {
      case Kind::kAnyOf:
        for (const int32_t alternative : n.alternatives) {
          if (s.size() > kMaxAnyDepth &&
              automaton_.grammar_.nodes[static_cast<size_t>(alternative)].any)
            continue;
          JsonStack copy = s;
          Begin(copy, alternative);
        }
        return;
      case Kind::kObject:
        if (byte_ == '{') become({kObjectFirst, 0, 0});
        return;
      case Kind::kArray:
        if (byte_ == '[') become({kArrayFirst, 0, 0});
        return;
      case Kind::kString:
        if (byte_ == '"') become({kString, kBetween, 0});
        return;
      case Kind::kNumber:
      case Kind::kInteger:
        if (byte_ == '-') become({kNumber, kMinus, 0});
        if (byte_ == '0') become({kNumber, kZero, 0});
        if (byte_ >= '1' && byte_ <= '9') become({kNumber, kInteger, 0, 1});
        return;
      case Kind::kLiterals:
        s.back() = {kLiterals, 0, index, 0, static_cast<int32_t>(n.literals.size()), 0};
        FeedLiterals(s, n);
        return;
    }
  }

  static bool AllWritten(const JsonNode& n, int32_t next) {
    return std::none_of(n.properties.begin() + next, n.properties.end(),
                        [](const JsonNode::Property& p) { return p.required; });
  }

  // Behind the quote that opens a key: each property up to the next that must be there, or another
  // key when none must be.
  void BeginKey(const JsonStack& s) {
    const JsonFrame& object = s.back();
    const JsonNode& n = automaton_.node(object);
    const int32_t count = static_cast<int32_t>(n.properties.size());
    const auto with = [&](int32_t next, int32_t value, JsonFrame key) {
      JsonStack t = s;
      t.back().at = kObjectColon;
      t.back().a = next;
      t.back().b = value;
      t.push_back(key);
      Keep(t);
    };
    for (int32_t j = object.a; j < count; ++j) {
      const JsonNode::Property& p = n.properties[static_cast<size_t>(j)];
      with(j + 1, p.value, {kKey, 0, object.node, j, 1});
      if (p.required) return;
    }
    if (n.other == JsonNode::kNone) return;
    with(count, n.other,
         {kOtherKey, kBetween, object.node, 0, static_cast<int32_t>(n.names.size()), 0});
  }

  void FeedOtherKey(JsonStack& s, const JsonNode& n) {
    JsonFrame& f = s.back();
    if (f.part == kBetween && byte_ == '"') {
      const bool named = f.a < f.b && Ends(n.names[static_cast<size_t>(f.a)], f.c);
      if (!named) Pop(s);
      return;
    }
    const int part = f.part == kBetween ? FirstPart(byte_) : NextPart(f.part, byte_);
    if (part < 0) return;
    f.part = static_cast<uint8_t>(part);
    if (f.a < f.b) Narrow(n.names, f.c, byte_, &f.a, &f.b);
    ++f.c;
    if (f.a == f.b) f.a = f.b = f.c = 0;  // no name begins like it
    Keep(s);
  }

  void FeedString(JsonStack& s, const JsonNode& n) {
    JsonFrame& f = s.back();
    if (f.part != kBetween) {
      const int part = NextPart(f.part, byte_);
      if (part < 0) return;
      f.part = static_cast<uint8_t>(part);
      Keep(s);
      return;
    }
    if (byte_ == '"') {
      if (f.a >= n.min) Pop(s);
      return;
    }
    const int part = byte_ == '\\' ? static_cast<int>(kEscape) : FirstPart(byte_);
    if (part < 0 || f.a == n.max) return;
    f.part = static_cast<uint8_t>(part);
    ++f.a;
    Keep(s);
  }

  void FeedNumber(JsonStack& s, const JsonNode& n) {
    JsonFrame& f = s.back();
    const auto digits = [&](Number part, int32_t most) {
      f.a = f.part == part ? f.a + 1 : 1;
      f.part = part;
      return f.a <= most;
    };
    const bool fraction_may_follow = n.kind == Kind::kNumber && byte_ == '.';
    const bool exponent_may_follow = n.kind == Kind::kNumber && (byte_ == 'e' || byte_ == 'E');
    const auto become = [&](Number part) {
      f.part = part;
      f.a = 0;
      return true;
    };
    bool taken = false;
    switch (f.part) {
      case kMinus:
        if (byte_ == '0') taken = become(kZero);
        if (byte_ >= '1' && byte_ <= '9') taken = digits(kInteger, kMaxDigits);
        break;
      case kInteger:
        if (IsDigit(byte_) && !(taken = digits(kInteger, kMaxDigits))) return;
        [[fallthrough]];
      case kZero:
        if (fraction_may_follow) taken = become(kPoint);
        if (exponent_may_follow) taken = become(kE);
        break;
      case kPoint:
        if (IsDigit(byte_)) taken = digits(kFraction, kMaxFractionDigits);
        break;
      case kFraction:
        if (IsDigit(byte_) && !(taken = digits(kFraction, kMaxFractionDigits))) return;
        if (exponent_may_follow) taken = become(kE);
        break;
      case kE:
        if (byte_ == '+' || byte_ == '-') taken = become(kESign);
        [[fallthrough]];
      case kESign:
        if (IsDigit(byte_)) taken = digits(kExponent, kMaxExponentDigits);
        break;
      case kExponent:
        if (IsDigit(byte_) && !(taken = digits(kExponent, kMaxExponentDigits))) return;
        break;
      default:
        break;
    }
    if (taken) {
      Keep(s);
    } else if (automaton_.MayEnd(f)) {
      s.pop_back();
      Feed(std::move(s));
    }
  }

  void FeedLiterals(JsonStack& s, const JsonNode& n) {
    JsonFrame& f = s.back();
    const bool may_end = automaton_.MayEnd(f);
    int32_t low = f.a, high = f.b;
    Narrow(n.literals, f.c, byte_, &low, &high);
    if (low == high) {
      if (may_end) {
        s.pop_back();
        Feed(std::move(s));
      }
      return;
    }
    f.a = low;
    f.b = high;
    ++f.c;
    if (high - low == 1 && Ends(n.literals[static_cast<size_t>(low)], f.c)) s.pop_back();
    Keep(s);
  }

  const JsonAutomaton& automaton_;
  const int32_t whitespace_;
  const uint8_t byte_;
  JsonState* const to_;
};

JsonState JsonAutomaton::Start() const { return {{JsonStack{{kValue, 0, grammar_.root}}}, 0}; }

bool JsonAutomaton::Step(const JsonState& from, uint8_t byte, JsonState* to) const {
  Stepper stepper(*this, from.whitespace, byte, to);
  for (const JsonStack& s : from.stacks) stepper.Feed(s);
  return stepper.Finish();
}

// Numbers and literals have no closing byte of their own.
bool JsonAutomaton::MayEnd(const JsonFrame& top) const {
  if (top.at == kNumber) {
    return top.part == kZero || top.part == kInteger || top.part == kFraction ||
           top.part == kExponent;
  }
  return top.at == kLiterals && top.c > 0 &&
         Ends(node(top).literals[static_cast<size_t>(top.a)], top.c);
}

bool JsonAutomaton::Complete(const JsonState& state) const {
  return std::any_of(state.stacks.begin(), state.stacks.end(), [&](const JsonStack& s) {
    return s.empty() || (s.size() == 1 && MayEnd(s.back()));
  });
}

int64_t JsonAutomaton::PlainCharacters(const JsonStack& stack) const {
  if (stack.empty() || stack.back().part != kBetween) return -1;
  const JsonFrame& top = stack.back();
  if (top.at == kOtherKey) return JsonNode::kUnbounded;
  return top.at == kString ? node(top).max - top.a : -1;
}

}  // namespace tritter
