// Keys: who may send spans, read them and administer the server; and what each has sent.
//
// A key is "nk_" and 43 random characters. The file `<data>/keys` holds a line per key: id, scopes,
// SHA-256 of the key, spans a second it may send (0: any), and a name. `nuages-server keys` writes
// it (add, list, revoke); a running server sees a change within a second, so keys rotate without a
// restart: add the new one, change the senders, revoke the old one. First keys may also come from
// the environment: NUAGES_INGEST_KEY and NUAGES_ADMIN_KEY, or *_FILE naming a file with one.
//
// With no key anywhere everything is open (and the server listens on loopback only, see
// server/options.h). As soon as the file exists or the environment names a key, every sender needs
// a key of scope ingest and every reader one of scope read or admin. A file that cannot be read
// later changes nothing: the keys known go on, and the log says so.
//
// Thread-safe. Cost: a SHA-256 and a hash look-up per request, a stat() per second.
// A key has 256 random bits, so a fast hash is enough: there is nothing to guess.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "server/secret_file.h"
#include "store/ingest.h"
#include "wire/otlp_reader.h"

namespace nuages::server {

enum class Scope : uint8_t { kIngest = 1, kRead = 2, kAdmin = 4 };  // admin may also read

struct KeyEntry {
  std::string id;
  uint8_t scopes = 0;
  std::string hash;  // hex
  uint64_t spans_per_second = 0;
  std::string name;
};

// Why a request of a key was not taken; also for those without a key.
enum class Refusal : uint8_t { kKey, kRate, kMalformed, kExhausted, kUnavailable, kOther };
inline constexpr size_t kRefusals = 6;
std::string_view name_of(Refusal refusal);

// A key in use: its rate and what it did. "none" stands for senders without a key.
class KeyUse {
 public:
  KeyUse(std::string id, uint64_t spans_per_second)
      : id_(std::move(id)), spans_per_second_(spans_per_second) {}

  const std::string& id() const { return id_; }
  void set_rate(uint64_t spans_per_second) { spans_per_second_ = spans_per_second; }
  // False when the key has used up its rate. Looked at before a request is decoded; its spans are
  // charged when they are known, so the last request may go over.
  bool may_send(uint64_t now_ns);
  void count(const Result<store::Accepted>& result);
  void count(Refusal refusal) { ++refused[static_cast<size_t>(refusal)]; }

  std::atomic<uint64_t> received{0}, repeated{0};
  std::array<std::atomic<uint64_t>, wire::kRejectReasons> rejected{};
  std::array<std::atomic<uint64_t>, kRefusals> refused{};  // requests

 private:
  const std::string id_;
  std::mutex mutex_;
  std::atomic<uint64_t> spans_per_second_;
  double tokens_ = 0;
  uint64_t filled_ns_ = 0;
};

class Keys {
 public:
  // `environment` holds keys by scope, given by the user; empty ones do not count.
  struct Environment {
    std::string ingest, admin;
  };
  static Result<Environment> read_environment();
  static Result<std::unique_ptr<Keys>> open(const std::string& file,
                                            const Environment& environment);

  // Whether any key is configured.
  bool required();
  // The key of a request, from its headers `authorization` ("Bearer KEY", or "Basic ..." with the
  // key as the password) and `x-api-key`. An Error (kDenied) says what is wrong.
  Result<std::shared_ptr<KeyUse>> check(Scope scope, std::string_view authorization,
                                        std::string_view api_key);
  // The valid key of this text or id.
  std::optional<KeyEntry> find(std::string_view key);
  std::optional<KeyEntry> find_id(std::string_view id);
  std::vector<std::shared_ptr<KeyUse>> uses();

  // The file. Errors name it.
  static Result<std::vector<KeyEntry>> read_file(const std::string& file);
  static Status write_file(const std::string& file, const std::vector<KeyEntry>& entries);
  static std::string make_key();
  static std::string hash(std::string_view key);
  static Result<uint8_t> parse_scopes(std::string_view words);  // "ingest,read"
  static std::string scope_words(uint8_t scopes);

 private:
  explicit Keys(const std::string& file) : file_(file) {}
  void refresh();
  Status load();

  std::mutex mutex_;
  WatchedFile file_;
  std::vector<KeyEntry> from_environment_;
  std::map<std::string, KeyEntry, std::less<>> by_hash_;
  std::map<std::string, std::shared_ptr<KeyUse>, std::less<>> uses_;  // by id
  bool required_ = false;
};

// What the keys did, in Prometheus' text form.
std::string metrics_text(const std::vector<std::shared_ptr<KeyUse>>& uses);

}  // namespace nuages::server
