#include "kernels/cuda/emulation/emulated_device.h"

#include <algorithm>
#include <cstdio>
#include <deque>
#include <memory>
#include <utility>
#include <vector>

dim3 threadIdx, blockIdx, blockDim, gridDim;

// Recordings are counted when they are asked for, and when the stream has come to them.
struct EmulatedEvent {
  EmulatedStream* stream = nullptr;  // of the last recording that was asked for
  int64_t asked = 0, done = 0;
  int64_t time = 0;  // of the last that was done
};
struct EmulatedStream {
  struct Work {
    EmulatedEvent* after;  // null: may run
    int64_t recording;     // of it
    std::function<void()> run;
  };
  std::deque<Work> work;
};
struct EmulatedGraph {
  std::vector<std::function<void()>> kernels;
};

// Leaves this stack, whose pointer goes to *from, and goes on where `to` was left.
extern "C" void TritterSwitchStack(void** from, void* to);
asm(R"(
.text
.type TritterSwitchStack, @function
TritterSwitchStack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size TritterSwitchStack, . - TritterSwitchStack
)");

namespace tritter::cuda {
namespace {

constexpr size_t kStackBytes = 64 << 10;
constexpr int kMostThreads = 1024;

enum class State { kReady, kAtWarp, kAtBlock, kDone };

// One thread of the block at work, on a stack of its own.
struct Fiber {
  std::unique_ptr<char[]> stack{new char[kStackBytes]};
  void* left_at = nullptr;
  State state = State::kDone;
  int exchanges = 0;
};

struct Machine {
  std::vector<Fiber> fibers{kMostThreads};
  void* scheduler = nullptr;
  int current = 0;
  const std::function<void()>* kernel = nullptr;
  // Two in turn: a thread that is ahead writes the one that nobody reads any more.
  uint32_t exchanged[kMostThreads / 32][2][32][8];
  EmulatedGraph* capturing = nullptr;

  EmulatedStream null_stream;
  std::vector<EmulatedStream*> streams{&null_stream};
  OtherStreams others = OtherStreams::kLast;
  bool refuse_page_locking = false;
  int64_t time = 0;
};
Machine& TheMachine() {
  static auto* const machine = new Machine;
  return *machine;
}

void Wait(State state) {
  Machine& m = TheMachine();
  Fiber& fiber = m.fibers[m.current];
  fiber.state = state;
  TritterSwitchStack(&fiber.left_at, m.scheduler);
}

void Enter() {
  (*TheMachine().kernel)();
  Wait(State::kDone);  // for good
}

// As if it had been left just before its first instruction.
void Start(Fiber* fiber) {
  const uintptr_t top =
      (reinterpret_cast<uintptr_t>(fiber->stack.get()) + kStackBytes) & ~uintptr_t{15};
  void** const words = reinterpret_cast<void**>(top) - 8;  // six registers, Enter, its caller
  std::memset(words, 0, 8 * sizeof(void*));
  words[6] = reinterpret_cast<void*>(&Enter);
  fiber->left_at = words;
  fiber->state = State::kReady;
  fiber->exchanges = 0;
}

// Whether all threads of [first, end) that live wait at `state`; then they go on.
bool Release(int first, int end, State state) {
  Machine& m = TheMachine();
  bool any = false;
  for (int i = first; i < end; ++i) {
    if (m.fibers[i].state == State::kDone) continue;
    if (m.fibers[i].state != state) return false;
    any = true;
  }
  for (int i = first; any && i < end; ++i) {
    if (m.fibers[i].state == state) m.fibers[i].state = State::kReady;
  }
  return any;
}

void RunBlock(int threads) {
  Machine& m = TheMachine();
  for (int i = 0; i < threads; ++i) Start(&m.fibers[i]);
  for (bool alive = true; alive;) {
    bool moved = false;
    alive = false;
    for (int first = 0; first < threads; first += 32) {
      const int end = first + 32 < threads ? first + 32 : threads;
      // A warp runs on by itself until it waits for the block or ends.
      do {
        for (int i = first; i < end; ++i) {
          if (m.fibers[i].state != State::kReady) continue;
          m.current = i;
          threadIdx.x = static_cast<unsigned>(i);
          moved = true;
          TritterSwitchStack(&m.scheduler, m.fibers[i].left_at);
        }
      } while (Release(first, end, State::kAtWarp));
      for (int i = first; i < end; ++i) alive = alive || m.fibers[i].state != State::kDone;
    }
    if (Release(0, threads, State::kAtBlock)) continue;
    if (alive && !moved) {
      std::fprintf(stderr, "emulated kernel: threads of a block wait at different barriers\n");
      std::abort();
    }
  }
}

void RunGrid(dim3 grid, int threads, const std::function<void()>& kernel) {
  Machine& m = TheMachine();
  m.kernel = &kernel;
  gridDim = grid;
  blockDim = dim3(static_cast<unsigned>(threads));
  for (unsigned z = 0; z < grid.z; ++z) {
    for (unsigned y = 0; y < grid.y; ++y) {
      for (unsigned x = 0; x < grid.x; ++x) {
        blockIdx = dim3(x, y, z);
        RunBlock(threads);
      }
    }
  }
}

// The next work of the stream, unless it waits for an event or there is none.
bool RunNext(EmulatedStream* stream) {
  if (stream->work.empty()) return false;
  EmulatedStream::Work& next = stream->work.front();
  if (next.after != nullptr && next.after->done < next.recording) return false;
  const std::function<void()> run = std::move(next.run);
  stream->work.pop_front();
  ++TheMachine().time;
  if (run != nullptr) run();
  return true;
}

// Until the stream has no more work, or `event` has been recorded so often.
void RunStream(EmulatedStream* stream, const EmulatedEvent* event, int64_t recording) {
  Machine& m = TheMachine();
  while (!stream->work.empty() && (event == nullptr || event->done < recording)) {
    if (m.others == OtherStreams::kFirst) {
      for (bool moved = true; moved;) {
        moved = false;
        for (EmulatedStream* other : m.streams) moved |= other != stream && RunNext(other);
      }
    }
    if (RunNext(stream)) continue;
    const EmulatedStream::Work& next = stream->work.front();
    RunStream(next.after->stream, next.after, next.recording);
  }
}

EmulatedStream* OrNull(EmulatedStream* stream) {
  return stream == nullptr ? &TheMachine().null_stream : stream;
}

// The null stream does not let the host go on before it is done.
void Give(EmulatedStream* stream, EmulatedStream::Work work) {
  if (TheMachine().capturing != nullptr) std::abort();  // graphs of this project hold kernels alone
  OrNull(stream)->work.push_back(std::move(work));
  if (stream == nullptr) RunStream(OrNull(stream), nullptr, 0);
}

}  // namespace

void EmulateLaunch(dim3 grid, int threads, cudaStream_t stream, std::function<void()> kernel) {
  auto run = [grid, threads, kernel = std::move(kernel)] { RunGrid(grid, threads, kernel); };
  if (EmulatedGraph* const graph = TheMachine().capturing; graph != nullptr) {
    graph->kernels.push_back(std::move(run));
  } else {
    Give(stream, {nullptr, 0, std::move(run)});
  }
}

void SetOtherStreams(OtherStreams order) { TheMachine().others = order; }
void RefusePageLocking(bool refuse) { TheMachine().refuse_page_locking = refuse; }

void EmulateBlockBarrier() { Wait(State::kAtBlock); }
void EmulateWarpBarrier() { Wait(State::kAtWarp); }

const uint32_t (*EmulateExchange(const uint32_t (&mine)[8], int words))[8] {
  Machine& m = TheMachine();
  const int thread = m.current;
  auto& all = m.exchanged[thread / 32][m.fibers[thread].exchanges++ & 1];
  std::memcpy(all[thread % 32], mine, static_cast<size_t>(words) * 4);
  Wait(State::kAtWarp);
  return all;
}

}  // namespace tritter::cuda

const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaSuccess ? "no error" : "out of memory";
}

namespace {

using tritter::cuda::Give;
using tritter::cuda::OrNull;
using tritter::cuda::RunStream;
using tritter::cuda::TheMachine;

constexpr size_t kMemory = size_t{1} << 30;

}  // namespace

cudaError_t cudaMalloc(void** p, size_t bytes) {
  if (bytes > kMemory) return cudaErrorMemoryAllocation;
  *p = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  if (*p == nullptr) return cudaErrorMemoryAllocation;
  std::memset(*p, 0xa5, bytes);  // as on a device: anything
  return cudaSuccess;
}
cudaError_t cudaFree(void* p) {
  for (EmulatedStream* stream : TheMachine().streams) RunStream(stream, nullptr, 0);
  std::free(p);
  return cudaSuccess;
}
cudaError_t cudaHostRegister(void*, size_t, unsigned) {
  return TheMachine().refuse_page_locking ? cudaErrorMemoryAllocation : cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total_bytes) {
  *free_bytes = *total_bytes = kMemory;
  return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind,
                            cudaStream_t stream) {
  Give(stream, {nullptr, 0, [=] { std::memcpy(to, from, bytes); }});
  return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* p, int value, size_t bytes, cudaStream_t stream) {
  Give(stream, {nullptr, 0, [=] { std::memset(p, value, bytes); }});
  return cudaSuccess;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = new EmulatedStream;
  TheMachine().streams.push_back(*stream);
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  RunStream(stream, nullptr, 0);
  std::erase(TheMachine().streams, stream);
  delete stream;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  RunStream(OrNull(stream), nullptr, 0);
  return cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  Give(stream, {event, event->asked, nullptr});
  return cudaSuccess;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new EmulatedEvent;
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  (void)cudaEventSynchronize(event);
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  event->stream = OrNull(stream);
  const int64_t recording = ++event->asked;
  Give(stream, {nullptr, 0, [=] {
                  event->done = recording;
                  event->time = TheMachine().time;
                }});
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  if (event->done < event->asked) RunStream(event->stream, event, event->asked);
  return cudaSuccess;
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end) {
  for (const EmulatedEvent* event : {begin, end})
    if (event->done == 0 || event->done < event->asked) std::abort();  // CUDA refuses it
  *milliseconds = static_cast<float>(end->time - begin->time);
  return cudaSuccess;
}
cudaError_t cudaStreamBeginCapture(cudaStream_t, cudaStreamCaptureMode) {
  TheMachine().capturing = new EmulatedGraph;
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t* graph) {
  *graph = std::exchange(TheMachine().capturing, nullptr);
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  *exec = new EmulatedGraph(*graph);
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  for (const std::function<void()>& kernel : exec->kernels) Give(stream, {nullptr, 0, kernel});
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) { return cudaGraphDestroy(exec); }
