// Spans of killed processes: files, owners, adopters. Real processes, real tmpfs.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/magic.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <system_error>
#include <vector>

#include "base/clock.h"
#include "export/orphan.h"
#include "export/orphan_file.h"
#include "export/owner.h"
#include "export/pipeline.h"
#include "export/queue_memory.h"
#include "export/tmpfs_file.h"
#include "net/test_receiver.h"
#include "trace/scope.h"
#include "trace/span.h"
#include "wire/otlp_reader.h"

namespace nuages::exporter {
namespace {

namespace fs = std::filesystem;
using nuages::testing::refused_url;
using nuages::testing::Reply;
using nuages::testing::Request;
using nuages::testing::TestReceiver;

constexpr uint32_t kMinute = 60'000;
constexpr uint64_t kSecond = 1'000'000'000;
constexpr char kNobody[] = "http://127.0.0.1:1";

struct Names {
  std::vector<std::string> names;
  std::multiset<uint64_t> ids;
  void on_resource(const wire::Resource&) {}
  void on_scope(const wire::Scope&) {}
  void on_span(const wire::Span& span) {
    names.emplace_back(span.name);
    ids.insert(span.span_id);
  }
};

Names spans_in(const std::vector<Request>& requests) {
  Names names;
  for (const Request& request : requests) {
    EXPECT_TRUE(wire::read_export_trace_request(request.body, {}, names).ok());
  }
  std::sort(names.names.begin(), names.names.end());
  return names;
}

using Strings = std::vector<std::string>;

// A folder of its own on /dev/shm: nothing of the machine's processes is seen or touched.
class SurvivalTest : public ::testing::Test {
 protected:
  void SetUp() override {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    GTEST_SKIP() << "the sanitizers' allocators do not survive a fork beside other threads";
#endif
    make_base();
  }
  void make_base() {
    char path[] = "/dev/shm/nuages-test-XXXXXX";
    if (mkdtemp(path) == nullptr) GTEST_SKIP() << "no /dev/shm";
    base_ = path;
    struct statfs info = {};
    if (statfs(path, &info) != 0 || info.f_type != TMPFS_MAGIC) GTEST_SKIP() << "not tmpfs";
  }
  void TearDown() override {
    kept_.clear();
    std::error_code gone;  // an exporter's thread may be removing its file at this moment
    while (!base_.empty() && fs::exists(base_)) fs::remove_all(base_, gone);
  }

  PipelineConfig config(const std::string& url) const {
    PipelineConfig config;
    config.client.endpoint = url;
    config.client.protocol = net::Protocol::kHttpProtobuf;
    config.schedule_delay_ms = 10 * kMinute;
    config.max_queue_bytes = 64U << 10;
    config.survival.enabled = true;
    config.survival.directories = {base_};
    return config;
  }

  std::shared_ptr<Pipeline> pipeline(PipelineConfig config, const char* service = "shop") const {
    auto made = Pipeline::create(std::move(config));
    const trace::AttributeView name[] = {{"service.name", trace::text_value(service)}};
    made->set_resource(name, "");
    kept_.push_back(made);  // a victim ends by its kill, not by a destructor
    return made;
  }

  std::string directory() const { return base_ + "/nuages-" + std::to_string(geteuid()); }
  Strings files() const {
    Strings names;
    if (!fs::exists(directory())) return names;
    std::error_code gone;
    for (fs::directory_iterator at(directory(), gone), end; at != end; at.increment(gone)) {
      names.push_back(at->path());
    }
    std::sort(names.begin(), names.end());
    return names;
  }

  // Runs `body` in a child that then dies by SIGKILL and is reaped.
  static pid_t killed(const std::function<void()>& body) {
    const pid_t pid = fork();
    if (pid == 0) {
      body();
      kill(getpid(), SIGKILL);
    }
    int status = 0;
    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
    return pid;
  }

  // A process with so many spans that nobody has sent.
  pid_t leave(const std::string& url, int spans, const char* service = "shop") const {
    return killed([&] {
      const auto victim = pipeline(config(url), service);
      for (int i = 0; i < spans; ++i) record(*victim, "left " + std::to_string(i));
    });
  }

  // So many processes with so many spans each, dead at the same time: none has adopted another's.
  Strings leave_together(const std::string& url, int processes, int spans) const {
    int ready[2];
    EXPECT_EQ(pipe(ready), 0);
    std::vector<pid_t> victims;
    for (int i = 0; i < processes; ++i) {
      victims.push_back(fork());
      if (victims.back() != 0) continue;
      const auto victim = pipeline(config(url));
      for (int j = 0; j < spans; ++j) record(*victim, "left " + std::to_string(j));
      EXPECT_EQ(write(ready[1], "", 1), 1);
      while (true) pause();
    }
    char byte = 0;
    for (int i = 0; i < processes; ++i) EXPECT_EQ(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    close(ready[1]);
    for (const int signal : {SIGSTOP, SIGKILL}) {
      for (const pid_t pid : victims) kill(pid, signal);
    }
    for (const pid_t pid : victims) waitpid(pid, nullptr, 0);
    return files();
  }

  static void record(Pipeline& pipeline, const std::string& name) {
    const auto span = trace::Span::start({.name = name});
    span->set_attribute("mail", trace::text_value("jane@example.com"));
    span->end();
    span->publish(pipeline);
  }

  // A process that records one span, until it has nothing left to adopt.
  Counters next_process(const std::string& url, uint64_t adopted, const char* service = "shop") {
    const auto next = pipeline(config(url), service);
    record(*next, "next");
    wait([&] { return next->counters().adopted + next->counters().adopted_lost >= adopted; });
    EXPECT_TRUE(next->shutdown(kMinute));
    return next->counters();
  }

  static void wait(const std::function<bool()>& condition) {
    const uint64_t end = steady_now() + 20 * kSecond;
    while (!condition()) {
      ASSERT_LT(steady_now(), end);
      usleep(1000);
    }
  }

  FileHeader* map_header(const std::string& path) {
    const int file = open(path.c_str(), O_RDWR | O_CLOEXEC);
    void* memory = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    EXPECT_NE(memory, MAP_FAILED);
    return static_cast<FileHeader*>(memory);
  }

  std::string base_;
  mutable std::vector<std::shared_ptr<Pipeline>> kept_;
};

// Without threads, so that the sanitizers can watch.
class OrphanTest : public SurvivalTest {
 protected:
  void SetUp() override { make_base(); }
};

TEST_F(SurvivalTest, TheNextProcessSendsWhatAKilledOneLeft) {
  TestReceiver receiver;
  leave(receiver.url(), 3);
  ASSERT_EQ(files().size(), 1U);
  EXPECT_EQ(receiver.requests().size(), 0U);
  const Counters counters = next_process(receiver.url(), 3);
  EXPECT_EQ(counters.adopted, 3U);
  EXPECT_EQ(counters.exported, 1U);
  EXPECT_EQ(spans_in(receiver.requests()).names, (Strings{"left 0", "left 1", "left 2", "next"}));
  EXPECT_TRUE(files().empty()) << "both files are gone";
}

TEST_F(SurvivalTest, AProcessWithoutSpansHasNoFileAndAFinishedOneLeavesNone) {
  TestReceiver receiver;
  {
    const auto idle = pipeline(config(receiver.url()));
    EXPECT_TRUE(files().empty());
    record(*idle, "first");
    ASSERT_EQ(files().size(), 1U);
    struct stat info = {};
    ASSERT_EQ(stat(files()[0].c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 07777, 0600U);
    EXPECT_GE(info.st_blocks * 512, info.st_size) << "every block is there before it is used";
    ASSERT_EQ(stat(directory().c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 07777, 0700U);
    EXPECT_TRUE(idle->shutdown(kMinute));
    EXPECT_TRUE(files().empty());
  }
}

TEST_F(SurvivalTest, AtMostTheBatchInFlightRepeatsWithTheSameIds) {
  std::atomic<int> calls{0};
  TestReceiver receiver([&](const Request&) -> std::optional<Reply> {
    if (calls.fetch_add(1) == 1) return std::nullopt;  // received, but the sender never knows
    return Reply{};
  });
  const std::string url = receiver.url();
  const pid_t pid = fork();
  if (pid == 0) {
    PipelineConfig small = config(url);
    small.max_export_batch_size = 2;
    const auto victim = pipeline(small);
    for (int i = 0; i < 6; ++i) record(*victim, "left " + std::to_string(i));
    pause();
  }
  receiver.wait_for(2);  // one acknowledged, one in flight
  kill(pid, SIGKILL);
  waitpid(pid, nullptr, 0);
  EXPECT_EQ(next_process(url, 4).adopted, 4U);
  const Names all = spans_in(receiver.requests());
  EXPECT_EQ(all.names.size(), 9U) << "six, the batch in flight again, and the adopter's own";
  EXPECT_EQ(std::set<uint64_t>(all.ids.begin(), all.ids.end()).size(), 7U);
  EXPECT_EQ(std::count(all.names.begin(), all.names.end(), "left 0"), 1);
  EXPECT_EQ(std::count(all.names.begin(), all.names.end(), "left 2"), 2);
  EXPECT_EQ(std::count(all.names.begin(), all.names.end(), "left 4"), 1);
}

TEST_F(SurvivalTest, BatchesPutByInAnOutageSurviveToo) {
  std::atomic<bool> up{false};
  TestReceiver flaky([&](const Request&) { return up ? Reply{} : Reply{503, "", ""}; });
  const pid_t pid = fork();
  if (pid == 0) {
    PipelineConfig small = config(flaky.url());
    small.max_export_batch_size = 2;
    const auto victim = pipeline(small);
    for (int i = 0; i < 6; ++i) record(*victim, "left " + std::to_string(i));
    wait([&] { return victim->counters().outage_spans >= 4; });
    kill(getpid(), SIGKILL);
  }
  waitpid(pid, nullptr, 0);
  EXPECT_EQ(files().size(), 2U) << "the queue and the outage buffer";
  const size_t before = flaky.requests().size();
  up = true;
  EXPECT_EQ(next_process(flaky.url(), 6).adopted, 6U);
  auto requests = flaky.requests();
  requests.erase(requests.begin(), requests.begin() + static_cast<long>(before));
  EXPECT_EQ(spans_in(requests).names,
            (Strings{"left 0", "left 1", "left 2", "left 3", "left 4", "left 5", "next"}));
  EXPECT_TRUE(files().empty());
}

TEST_F(SurvivalTest, AShutdownThatCouldNotDeliverLeavesTheSpansToTheNextProcess) {
  std::atomic<bool> up{true};
  TestReceiver receiver([&](const Request&) { return up ? Reply{} : Reply{503, "", ""}; });
  const auto first = pipeline(config(receiver.url()));
  record(*first, "sent");
  EXPECT_TRUE(first->force_flush(kMinute));
  up = false;
  record(*first, "kept");
  EXPECT_FALSE(first->shutdown(50));
  EXPECT_EQ(first->counters().kept, 1U);
  EXPECT_EQ(first->counters().failed, 0U);
  // It lives, so nobody takes it; ask as another process would see it after its end.
  for (const std::string& path : files()) {
    FileHeader* header = map_header(path);
    header->owner.start += 1;
    header->sum = header_sum(*header);
    munmap(header, 4096);
  }
  up = true;
  EXPECT_EQ(next_process(receiver.url(), 1).adopted, 1U);
  EXPECT_TRUE(files().empty());
}

TEST_F(SurvivalTest, AProcessThatNeverReachedItsReceiverLeavesNothingAtItsEnd) {
  const auto first = pipeline(config(refused_url()));
  record(*first, "lost");
  EXPECT_FALSE(first->shutdown(50));
  EXPECT_EQ(first->counters().failed, 1U);
  EXPECT_TRUE(files().empty());
}

TEST_F(SurvivalTest, OnlyTheSameServiceEndpointAndHeadersAdopt) {
  TestReceiver receiver;
  TestReceiver other;
  leave(receiver.url(), 1);
  const auto sends_only_its_own = [&](PipelineConfig config, const char* service) {
    const auto next = pipeline(std::move(config), service);
    record(*next, "next");
    EXPECT_TRUE(next->shutdown(kMinute));
    EXPECT_EQ(next->counters().adopted, 0U);
    EXPECT_EQ(files().size(), 1U);
  };
  sends_only_its_own(config(receiver.url()), "bank");
  sends_only_its_own(config(other.url()), "shop");
  PipelineConfig tenant = config(receiver.url());
  tenant.client.headers = {{"x-tenant", "two"}};
  sends_only_its_own(tenant, "shop");
  EXPECT_EQ(next_process(receiver.url(), 1).adopted, 1U);
}

TEST_F(SurvivalTest, MasksWithTheRulesOfTheDead) {
  TestReceiver receiver;
  killed([&] {
    PipelineConfig strict = config(receiver.url());
    mask::Policy policy;
    ASSERT_TRUE(mask::Policy::of_profile("on", policy));
    strict.mask_profile = MaskProfile::of(policy);
    strict.filters = filters_of(policy);
    record(*pipeline(strict), "left");
  });
  EXPECT_EQ(next_process(receiver.url(), 1).adopted, 1U) << "the adopter itself masks nothing";
  for (const Request& request : receiver.requests()) {
    Names names;
    EXPECT_TRUE(wire::read_export_trace_request(request.body, {}, names).ok());
    if (names.names != Strings{"left"}) continue;
    EXPECT_EQ(request.body.find("jane@example.com"), std::string::npos);
    EXPECT_NE(request.body.find("***@***.**"), std::string::npos);
  }
}

TEST_F(SurvivalTest, SpansMaskedByRulesNobodyElseHasAreDroppedAndCounted) {
  TestReceiver receiver;
  killed([&] {
    PipelineConfig own = config(receiver.url());
    own.filters.mask = [](std::string_view, std::string&) { return false; };
    const auto victim = pipeline(own);
    record(*victim, "secret 1");
    record(*victim, "secret 2");
  });
  const Counters counters = next_process(receiver.url(), 2);
  EXPECT_EQ(counters.adopted_lost, 2U);
  EXPECT_EQ(spans_in(receiver.requests()).names, Strings{"next"});
  EXPECT_TRUE(files().empty());
}

TEST_F(SurvivalTest, AChildHasItsOwnFileAndTheParentsStaysTheParents) {
  TestReceiver receiver;
  PipelineConfig often = config(receiver.url());
  often.survival.scan_interval_ms = 1;
  const auto parent = pipeline(often);
  record(*parent, "parent 0");
  killed([&] {
    if (files().size() != 1) _exit(1);  // none of its own yet
    record(*parent, "child");
    if (files().size() != 2) _exit(2);
  });
  ASSERT_EQ(files().size(), 2U);
  usleep(2000);  // until its next look is due
  record(*parent, "parent 1");
  wait([&] { return parent->counters().adopted == 1; });
  EXPECT_TRUE(parent->force_flush(kMinute));
  EXPECT_EQ(spans_in(receiver.requests()).names, (Strings{"child", "parent 0", "parent 1"}))
      << "a neighbour that goes on adopts as well, and nothing comes twice";
  EXPECT_TRUE(parent->shutdown(kMinute));
  EXPECT_TRUE(files().empty());
}

TEST_F(SurvivalTest, TwoAdoptersNeverSendTheSameFile) {
  TestReceiver receiver;
  const Strings left = leave_together(receiver.url(), 8, 5);
  ASSERT_EQ(files(), left);
  std::vector<pid_t> adopters;
  for (int i = 0; i < 4; ++i) {
    adopters.push_back(fork());
    if (adopters.back() != 0) continue;
    PipelineConfig small = config(receiver.url());
    small.max_export_batch_size = 2;
    const auto adopter = pipeline(small);
    record(*adopter, "adopter");
    wait([&] {
      const Strings now = files();
      return std::ranges::none_of(
          left, [&](const auto& file) { return std::ranges::binary_search(now, file); });
    });
    _exit(adopter->shutdown(kMinute) ? 0 : 1);
  }
  for (const pid_t pid : adopters) {
    int status = 0;
    waitpid(pid, &status, 0);
    EXPECT_EQ(status, 0);
  }
  const Names all = spans_in(receiver.requests());
  EXPECT_EQ(all.names.size(), 44U);
  EXPECT_EQ(std::set<uint64_t>(all.ids.begin(), all.ids.end()).size(), 44U);
}

TEST_F(SurvivalTest, AKilledAdoptersWorkIsFinishedByTheNext) {
  std::atomic<int> calls{0};
  TestReceiver receiver([&](const Request&) -> std::optional<Reply> {
    if (calls.fetch_add(1) == 1) return std::nullopt;
    return Reply{};
  });
  leave(receiver.url(), 6);
  const pid_t pid = fork();
  if (pid == 0) {
    PipelineConfig small = config(receiver.url());
    small.max_export_batch_size = 2;
    const auto adopter = pipeline(small);
    record(*adopter, "adopter");
    pause();
  }
  receiver.wait_for(2);
  kill(pid, SIGKILL);
  waitpid(pid, nullptr, 0);
  EXPECT_EQ(next_process(receiver.url(), 5).adopted, 5U) << "four left and the adopter's own";
  const Names all = spans_in(receiver.requests());
  EXPECT_EQ(std::set<uint64_t>(all.ids.begin(), all.ids.end()).size(), 8U);
  EXPECT_EQ(all.names.size(), 10U) << "the batch in flight came twice";
  EXPECT_TRUE(files().empty());
}

TEST_F(OrphanTest, LifeIsPidAndStartTimeAndImageInOnePidNamespace) {
  const Owner self = this_process();
  EXPECT_NE(self.start, 0U);
  EXPECT_NE(self.pid_namespace, 0U);
  EXPECT_EQ(life_of(self, self), Life::kAlive);
  Owner before_exec = self;
  before_exec.image ^= 1;
  EXPECT_EQ(life_of(before_exec, self), Life::kDead);
  const pid_t pid = fork();
  if (pid == 0) {
    pause();
    _exit(0);
  }
  Owner child = self;
  child.pid = static_cast<uint64_t>(pid);
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  std::string word;
  for (int i = 0; i < 22; ++i) stat >> word;
  child.start = std::stoull(word);
  EXPECT_EQ(life_of(child, self), Life::kAlive);
  Owner reused = child;
  reused.start -= 1;
  EXPECT_EQ(life_of(reused, self), Life::kDead) << "the pid went to another process";
  Owner elsewhere = child;
  elsewhere.pid_namespace ^= 1;
  EXPECT_EQ(life_of(elsewhere, self), Life::kUnknown);
  kill(pid, SIGKILL);
  siginfo_t info;
  waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT);
  EXPECT_EQ(life_of(child, self), Life::kDead) << "a zombie";
  waitpid(pid, nullptr, 0);
  EXPECT_EQ(life_of(child, self), Life::kDead);
}

TEST_F(SurvivalTest, AnOwnerOfAnotherPidNamespaceIsDeadWhenItsHeartStopped) {
  TestReceiver receiver;
  leave(receiver.url(), 2);
  FileHeader* header = map_header(files()[0]);
  header->owner.pid_namespace ^= 1;
  header->sum = header_sum(*header);
  header->heartbeat = steady_now();
  const uint64_t audience = header->audience;
  OrphanScan scan = scan_orphans({base_}, audience, {});
  EXPECT_TRUE(scan.mine.empty());
  EXPECT_GT(scan.recheck, steady_now());
  header->heartbeat = steady_now() > header->stale_after ? steady_now() - header->stale_after : 1;
  scan = scan_orphans({base_}, audience, {});
  EXPECT_EQ(scan.mine.size(), 1U);
  header->owner.time_namespace ^= 1;
  header->sum = header_sum(*header);
  EXPECT_TRUE(scan_orphans({base_}, audience, {}).mine.empty()) << "its clock tells nothing";
  header->owner.time_namespace ^= 1;
  header->sum = header_sum(*header);
  EXPECT_EQ(next_process(receiver.url(), 2).adopted, 2U);
  EXPECT_NE(header->claimed, 0U) << "should it live after all, it will know";
  munmap(header, 4096);
}

TEST_F(SurvivalTest, AnOwnerThatWasTakenForDeadDoesNotRepeatWhatOthersSent) {
  TestReceiver receiver;
  const auto frozen = pipeline(config(receiver.url()));
  record(*frozen, "claimed 0");
  record(*frozen, "claimed 1");
  FileHeader* header = map_header(files()[0]);
  uint64_t head = 0;
  {
    std::ifstream file(files()[0], std::ios::binary);
    file.seekg(static_cast<long>(kFileHeaderBytes + trace::QueueImage::head_offset()));
    file.read(reinterpret_cast<char*>(&head), sizeof head);
  }
  header->claimed = head;
  record(*frozen, "after");
  EXPECT_TRUE(frozen->force_flush(kMinute));
  EXPECT_EQ(spans_in(receiver.requests()).names, Strings{"after"});
  munmap(header, 4096);
}

TEST_F(OrphanTest, OldAndTooManyFilesGo) {
  for (int i = 0; i < 5; ++i) leave(kNobody, 1, "nobody");
  ASSERT_EQ(files().size(), 5U);
  OrphanLimits limits;
  limits.files = 3;
  EXPECT_EQ(scan_orphans({base_}, 1, limits).removed_unsent, 2U);
  EXPECT_EQ(files().size(), 3U);
  limits.bytes = 200U << 10;  // one file of 64 KiB and its header pages, not three
  EXPECT_EQ(scan_orphans({base_}, 1, limits).removed_unsent, 2U);
  limits.age = 0;
  EXPECT_EQ(scan_orphans({base_}, 1, limits).removed_unsent, 1U);
  EXPECT_TRUE(files().empty());
}

TEST_F(SurvivalTest, AnEmptyFileOfADeadProcessGoesWhoeverFindsIt) {
  TestReceiver receiver;
  killed([&] {
    const auto victim = pipeline(config(receiver.url()));
    record(*victim, "sent");
    victim->force_flush(kMinute);
  });
  ASSERT_EQ(files().size(), 1U);
  EXPECT_TRUE(scan_orphans({base_}, 1, {}).mine.empty());
  EXPECT_TRUE(files().empty());
}

TEST_F(OrphanTest, WhatIsNotOursIsNeverTouched) {
  leave(kNobody, 1);
  const std::string orphan = files()[0];
  const auto untouched = [&](const char* why) {
    SCOPED_TRACE(why);
    const size_t count = files().size();
    OrphanLimits none;
    none.files = 0;
    none.age = 0;
    const OrphanScan scan = scan_orphans({base_}, 1, none);
    EXPECT_EQ(scan.removed_unsent, 0U);
    EXPECT_EQ(files().size(), count);
  };
  ASSERT_EQ(chmod(orphan.c_str(), 0644), 0);
  untouched("readable for others");
  chmod(orphan.c_str(), 0600);
  fs::create_hard_link(orphan, base_ + "/link");
  untouched("two names");
  fs::remove(base_ + "/link");
  if (geteuid() == 0) {
    ASSERT_EQ(chown(orphan.c_str(), 12345, 12345), 0);
    untouched("another user's");
    ASSERT_EQ(chown(orphan.c_str(), 0, 0), 0);
  }
  fs::rename(orphan, base_ + "/elsewhere");
  fs::create_symlink(base_ + "/elsewhere", orphan);
  untouched("a symbolic link");
  fs::remove(orphan);
  ASSERT_EQ(mkfifo(orphan.c_str(), 0600), 0);
  untouched("a pipe, which must not block either");
}

TEST_F(OrphanTest, ADirectoryOfSomebodyElseIsRefused) {
  const QueueMemory memory({});
  const auto create = [&](const std::string& base) {
    return TmpfsFile::create({base}, {}, 4096).error().message;
  };
  EXPECT_NE(create("/tmp/").find("not on tmpfs"), std::string::npos);
  EXPECT_NE(create(base_ + "/missing").find("No such file"), std::string::npos);
  fs::create_directory_symlink("/dev/shm", directory());
  EXPECT_NE(create(base_).find("Not a directory"), std::string::npos) << create(base_);
  fs::remove(directory());
  if (geteuid() == 0) {
    fs::create_directory(directory());
    ASSERT_EQ(chown(directory().c_str(), 12345, 12345), 0);
    EXPECT_NE(create(base_).find("another user"), std::string::npos);
  }
}

TEST_F(SurvivalTest, WithoutRoomTheQueueIsInAnonymousMemory) {
  TestReceiver receiver;
  const pid_t pid = fork();
  if (pid == 0) {
    const rlimit limit{16 << 10, 16 << 10};
    setrlimit(RLIMIT_FSIZE, &limit);  // exceeding it is SIGXFSZ
    const auto small = pipeline(config(receiver.url()));
    record(*small, "works all the same");
    _exit(small->shutdown(kMinute) && files().empty() ? 0 : 1);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(spans_in(receiver.requests()).names, Strings{"works all the same"});
}

// A file is damaged in every way that random bytes find: nothing crashes, nothing hangs, the own
// span arrives, and the file is gone or waits for its time.
TEST_F(OrphanTest, SurvivesDamagedFiles) {
  leave(kNobody, 10);
  std::string sound;
  {
    std::ifstream file(files()[0], std::ios::binary);
    sound.assign(std::istreambuf_iterator<char>(file), {});
  }
  const std::string path = files()[0];
  uint64_t audience = 0;
  std::memcpy(&audience, sound.data() + offsetof(FileHeader, audience), sizeof audience);
  std::mt19937_64 random(11);
  size_t sent = 0;
  for (int round = 0; round < 400; ++round) {
    std::string bytes = sound;
    const size_t areas[] = {sizeof(FileHeader), kFileHeaderBytes + 9000, bytes.size()};
    for (int i = 0; i < 4; ++i) {
      const size_t area = areas[random() % 3];
      bytes[random() % area] = static_cast<char>(random());
    }
    if (round % 5 == 0) bytes.resize(random() % bytes.size());
    auto* header = reinterpret_cast<FileHeader*>(bytes.data());
    if (round % 2 == 0 && bytes.size() >= sizeof(FileHeader)) header->sum = header_sum(*header);
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
    chmod(path.c_str(), 0600);
    for (const OrphanPlace& place : scan_orphans({base_}, audience, {}).mine) {
      const auto orphan = Orphan::adopt(place, audience);
      if (!orphan) continue;
      for (;;) {
        const Orphan::Request request = orphan->next(4, 1U << 20);
        if (request.body.empty()) break;
        Names names;
        const auto stats = wire::read_export_trace_request(request.body, {}, names);
        ASSERT_TRUE(stats.ok() && stats->rejected == 0);
        sent += request.spans;
        orphan->settled();
      }
      orphan->remove();
    }
  }
  EXPECT_GT(sent, 1000U);
}

TEST_F(OrphanTest, AFileThatKilledItsAdoptersIsGivenUp) {
  leave(kNobody, 2);
  uint64_t audience = 0;
  const std::string path = files()[0];
  {
    FileHeader* header = map_header(path);
    audience = header->audience;
    munmap(header, 4096);
  }
  for (int i = 0; i < 3; ++i) {
    killed([&] {
      for (const OrphanPlace& place : scan_orphans({base_}, audience, {}).mine) {
        const auto orphan = Orphan::adopt(place, audience);
        if (orphan) kill(getpid(), SIGKILL);
      }
      _exit(1);
    });
    ASSERT_EQ(files().size(), 1U) << i;
  }
  const auto mine = scan_orphans({base_}, audience, {}).mine;
  ASSERT_EQ(mine.size(), 1U);
  EXPECT_EQ(Orphan::adopt(mine[0], audience), nullptr);
  EXPECT_TRUE(files().empty());
}

}  // namespace
}  // namespace nuages::exporter
