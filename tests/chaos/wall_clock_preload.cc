// Loaded before everything else (LD_PRELOAD): moves the wall clock of a process by the nanoseconds
// that stand in the file TEST_WALL_CLOCK, which may change at any time. Waits until an instant of
// the wall clock are moved back, since the kernel knows only the real one.
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdarg>
#include <cstdint>
#include <cstdlib>

namespace {

constexpr int64_t kSecond = 1'000'000'000;

int64_t* Mapped() {
  const char* path = std::getenv("TEST_WALL_CLOCK");
  if (path == nullptr) return nullptr;
  const int fd = open(path, O_RDWR | O_CLOEXEC);
  if (fd < 0) return nullptr;
  void* at = mmap(nullptr, sizeof(int64_t), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  return at == MAP_FAILED ? nullptr : static_cast<int64_t*>(at);
}

int64_t Offset() {
  static int64_t* const offset = Mapped();
  return offset == nullptr ? 0 : std::atomic_ref<int64_t>(*offset).load();
}

timespec Moved(const timespec& t, int64_t by) {
  const int64_t all = t.tv_sec * kSecond + t.tv_nsec + by;
  return {all / kSecond, all % kSecond};
}

// Both clocks are waited for with the same calls: nobody is up for thirty years.
bool IsWallTime(const timespec& t) { return t.tv_sec > 1'000'000'000; }

template <typename Function>
Function* Next(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

}  // namespace

extern "C" {

int clock_gettime(clockid_t id, timespec* t) noexcept {
  static auto* const next = Next<int(clockid_t, timespec*)>("clock_gettime");
  const int result = next(id, t);
  if (result == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
    *t = Moved(*t, Offset());
  return result;
}

int gettimeofday(timeval* t, void*) noexcept {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  *t = {now.tv_sec, now.tv_nsec / 1000};
  return 0;
}

time_t time(time_t* out) noexcept {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (out != nullptr) *out = now.tv_sec;
  return now.tv_sec;
}

int pthread_cond_timedwait(pthread_cond_t* c, pthread_mutex_t* m, const timespec* until) {
  static auto* const next =
      Next<int(pthread_cond_t*, pthread_mutex_t*, const timespec*)>("pthread_cond_timedwait");
  const timespec real = IsWallTime(*until) ? Moved(*until, -Offset()) : *until;
  return next(c, m, &real);
}

long syscall(long number, ...) noexcept {
  static auto* const next = Next<long(long, ...)>("syscall");
  va_list list;
  va_start(list, number);
  long a[6];
  for (long& argument : a) argument = va_arg(list, long);
  va_end(list);
  const bool waits = number == SYS_futex && (a[1] & FUTEX_CLOCK_REALTIME) != 0 && a[3] != 0;
  if (!waits) return next(number, a[0], a[1], a[2], a[3], a[4], a[5]);
  const timespec real = Moved(*reinterpret_cast<const timespec*>(a[3]), -Offset());
  return next(number, a[0], a[1], a[2], &real, a[4], a[5]);
}

}  // extern "C"
