// The golden-test runner: text in, text out, one file per subject below tests/golden/<suite>/.
//
// A file holds cases. A case starts with "==== name", then its input lines, then a line "----",
// then the expected output up to the next case. Lines before the first case that start with '#' are
// comments. run_golden_suite feeds every input of every *.txt file of the suite to a function and
// compares. NUAGES_UPDATE_GOLDEN=1 rewrites the expected parts instead (`make golden`); review the
// diff. Test code only: uses GoogleTest's failure reporting.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>
#include <string>
#include <vector>

namespace nuages::testing {

struct GoldenCase {
  std::string name, input, expected;
};

inline std::string without_final_newline(std::string text) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

inline void run_golden_file(const std::filesystem::path& path,
                            const std::function<std::string(const std::string&)>& run) {
  std::ifstream file(path);
  std::vector<GoldenCase> cases;
  std::string head, line;
  bool in_expected = false;
  while (std::getline(file, line)) {
    if (line.starts_with("==== ")) {
      cases.push_back({line.substr(5), "", ""});
      in_expected = false;
    } else if (cases.empty()) {
      head += line + "\n";
    } else if (line == "----" && !in_expected) {
      in_expected = true;
    } else {
      (in_expected ? cases.back().expected : cases.back().input) += line + "\n";
    }
  }
  ASSERT_FALSE(cases.empty()) << path << " holds no case";
  // NOLINTNEXTLINE(concurrency-mt-unsafe): tests read the environment from one thread
  const bool update = std::getenv("NUAGES_UPDATE_GOLDEN") != nullptr;
  std::ostringstream rewritten;
  rewritten << head;
  for (const auto& test : cases) {
    std::string input = without_final_newline(test.input);
    std::string actual = without_final_newline(run(input));
    if (!update) {
      EXPECT_EQ(actual, without_final_newline(test.expected))
          << path.filename().string() << ": case \"" << test.name << "\"\ninput:\n"
          << input;
    }
    rewritten << "==== " << test.name << "\n" << input << "\n----\n" << actual << "\n";
  }
  if (update) std::ofstream(path) << rewritten.str();
}

inline void run_golden_suite(const std::string& suite,
                             const std::function<std::string(const std::string&)>& run) {
  std::vector<std::filesystem::path> files;
  const std::filesystem::path folder = std::filesystem::path(NUAGES_GOLDEN_DIR) / suite;
  ASSERT_TRUE(std::filesystem::is_directory(folder)) << folder << " does not exist";
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == ".txt") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  ASSERT_FALSE(files.empty()) << folder << " holds no .txt file";
  for (const auto& path : files) run_golden_file(path, run);
}

}  // namespace nuages::testing
