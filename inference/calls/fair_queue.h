// A queue in which clients take turns: one that asks for a hundred things delays another's single
// one by one thing, not by a hundred.
#pragma once

#include <deque>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace tritter {

// Not thread-safe. Of one client: first come, first served.
template <typename T>
class FairQueue {
 public:
  bool empty() const { return size_ == 0; }
  size_t size() const { return size_; }

  void Push(const std::string& client, T item) {
    std::deque<T>& line = lines_[client];
    if (line.empty()) turns_.push_back(client);
    line.push_back(std::move(item));
    ++size_;
  }
  // Whose turn it is. The same until it is popped or removed, whoever else comes: a large one that
  // waits for room is not overtaken for ever. Not to be called when empty.
  T& front() { return lines_.find(turns_.front())->second.front(); }
  void Pop() {
    const auto line = lines_.find(turns_.front());
    turns_.pop_front();
    line->second.pop_front();
    --size_;
    if (line->second.empty()) {
      lines_.erase(line);
    } else {
      turns_.push_back(line->first);
    }
  }
  // Takes out all that are so.
  template <typename Predicate>
  std::vector<T> Remove(Predicate is_so) {
    std::vector<T> removed;
    for (auto& [client, line] : lines_) {
      std::erase_if(line, [&](T& item) {
        if (!is_so(item)) return false;
        removed.push_back(std::move(item));
        return true;
      });
    }
    size_ -= removed.size();
    std::erase_if(turns_, [&](const std::string& client) { return lines_[client].empty(); });
    std::erase_if(lines_, [](const auto& line) { return line.second.empty(); });
    return removed;
  }

 private:
  std::map<std::string, std::deque<T>> lines_;  // by client; none is empty
  std::deque<std::string> turns_;               // the clients in lines_, whose turn it is first
  size_t size_ = 0;
};

}  // namespace tritter
