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

// The store of this process; opened at first use, its folder removed at exit.
inline ChdbStore& process_store() {
  struct Holder {
    std::string folder;
    std::unique_ptr<ChdbStore> store;
    Holder() {
      std::string pattern = (std::filesystem::temp_directory_path() / "nuages-XXXXXX").string();
      folder = mkdtemp(pattern.data());
      auto opened = ChdbStore::open({.library = NUAGES_CHDB_LIBRARY, .folder = folder + "/store"});
      if (!opened) {
        ADD_FAILURE() << opened.error().message;
        std::abort();
      }
      store = std::move(*opened);
    }
    ~Holder() {
      store.reset();
      std::error_code ignored;
      std::filesystem::remove_all(folder, ignored);
    }
  };
  static Holder holder;
  return *holder.store;
}

}  // namespace nuages::store::testing
