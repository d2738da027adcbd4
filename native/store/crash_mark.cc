#include "store/crash_mark.h"

#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <system_error>

namespace nuages::store {
namespace {

constexpr uint64_t kMostCrashes = 2;
constexpr int kFaults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};

char crashed_path[4096];  // a signal handler may not allocate

extern "C" void on_fault(int signal) {
  const int fd = ::open(crashed_path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  if (fd >= 0) ::close(fd);
  ::raise(signal);  // the handler was for one time; now the default ends the process
}

}  // namespace

void CrashMark::install(const std::string& folder) {
  const std::string path = folder + "/crashed";
  if (path.size() >= sizeof crashed_path) return;
  path.copy(crashed_path, path.size());
  crashed_path[path.size()] = '\0';
  struct sigaction action{};
  action.sa_handler = &on_fault;
  action.sa_flags = static_cast<int>(SA_RESETHAND | SA_NODEFER);
  for (const int signal : kFaults) sigaction(signal, &action, nullptr);
}

uint64_t CrashMark::poisoned() {
  std::error_code ignored;
  std::ifstream file(folder_ + "/trying");
  file >> segment_ >> crashes_;
  file.close();
  const bool crashed = std::filesystem::remove(folder_ + "/crashed", ignored);
  if (segment_ == 0 || !crashed) return 0;
  ++crashes_;
  if (crashes_ < kMostCrashes) {
    write();
    return 0;
  }
  const uint64_t segment = segment_;
  end();
  return segment;
}

void CrashMark::write() const {
  std::ofstream(folder_ + "/trying", std::ios::trunc) << segment_ << " " << crashes_ << "\n";
}

void CrashMark::begin(uint64_t segment) {
  if (segment != segment_) crashes_ = 0;
  segment_ = segment;
  write();
}

void CrashMark::end() {
  std::error_code ignored;
  std::filesystem::remove(folder_ + "/trying", ignored);
  segment_ = crashes_ = 0;
}

}  // namespace nuages::store
