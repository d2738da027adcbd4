// One embedded store per test process in a temporary folder: the engine allows one path per
// process. Test code only.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>

#include "store/chdb_store.h"

namespace nuages::store::testing {

class EngineTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!kChdbRuns) GTEST_SKIP() << "the engine does not run under this sanitizer";
  }
};

// The store of this process: opened at first use, closed before main returns. A static would be
// closed by the exit handlers, when statics of the engine that its merge threads still use are gone
// (seen as an abort in a merge thread, one run in eight on a busy machine).
class StoreEnvironment : public ::testing::Environment {
 public:
  ChdbStore& store() {
    if (store_ == nullptr) {
      std::string pattern = (std::filesystem::temp_directory_path() / "nuages-XXXXXX").string();
      folder_ = mkdtemp(pattern.data());
      auto opened = ChdbStore::open({.library = NUAGES_CHDB_LIBRARY, .folder = folder_ + "/store"});
      if (!opened) {
        ADD_FAILURE() << opened.error().message;
        std::abort();
      }
      store_ = std::move(*opened);
    }
    return *store_;
  }

  void TearDown() override {
    store_.reset();
    if (folder_.empty()) return;
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

 private:
  std::string folder_;
  std::unique_ptr<ChdbStore> store_;
};

inline StoreEnvironment* const kStoreEnvironment =
    static_cast<StoreEnvironment*>(::testing::AddGlobalTestEnvironment(new StoreEnvironment));

inline ChdbStore& process_store() { return kStoreEnvironment->store(); }

}  // namespace nuages::store::testing
