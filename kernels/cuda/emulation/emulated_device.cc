#include "kernels/cuda/emulation/emulated_device.h"

#include <cstdio>
#include <memory>
#include <utility>
#include <vector>

dim3 threadIdx, blockIdx, blockDim, gridDim;

struct EmulatedStream {};
struct EmulatedGraph {
  struct Node {
    dim3 grid;
    int threads;
    std::function<void()> kernel;
  };
  std::vector<Node> nodes;
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

}  // namespace

void EmulateLaunch(dim3 grid, int threads, std::function<void()> kernel) {
  Machine& m = TheMachine();
  if (m.capturing != nullptr) {
    m.capturing->nodes.push_back({grid, threads, std::move(kernel)});
    return;
  }
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
constexpr size_t kMemory = size_t{1} << 30;
EmulatedGraph*& Capturing() { return tritter::cuda::TheMachine().capturing; }
}  // namespace

cudaError_t cudaMalloc(void** p, size_t bytes) {
  if (bytes > kMemory) return cudaErrorMemoryAllocation;
  *p = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  if (*p == nullptr) return cudaErrorMemoryAllocation;
  std::memset(*p, 0xa5, bytes);  // as on a device: anything
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total_bytes) {
  *free_bytes = *total_bytes = kMemory;
  return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind,
                            cudaStream_t) {
  if (Capturing() != nullptr) std::abort();  // graphs of this project hold kernels alone
  std::memcpy(to, from, bytes);
  return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* p, int value, size_t bytes, cudaStream_t) {
  if (Capturing() != nullptr) std::abort();
  std::memset(p, value, bytes);
  return cudaSuccess;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = new EmulatedStream;
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  return cudaSuccess;
}
cudaError_t cudaStreamBeginCapture(cudaStream_t, cudaStreamCaptureMode) {
  Capturing() = new EmulatedGraph;
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t* graph) {
  *graph = std::exchange(Capturing(), nullptr);
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  *exec = new EmulatedGraph(*graph);
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t) {
  for (const EmulatedGraph::Node& node : exec->nodes)
    tritter::cuda::EmulateLaunch(node.grid, node.threads, node.kernel);
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) { return cudaGraphDestroy(exec); }
