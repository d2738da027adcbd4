#include "server/host_guard.h"

#include <gtest/gtest.h>

namespace nuages::server {
namespace {

std::string why(std::map<std::string, std::string> headers) {
  Request request;
  request.headers = std::move(headers);
  return refuse_foreign(request).value_or("");
}

TEST(HostGuard, LetsThisMachineIn) {
  EXPECT_EQ(why({}), "");
  EXPECT_EQ(why({{"host", "localhost:4319"}}), "");
  EXPECT_EQ(why({{"host", "[::1]:4319"}}), "");
  EXPECT_EQ(why({{"host", "127.0.0.1"}, {"origin", "http://localhost:5173"}}), "");
}

TEST(HostGuard, RefusesForeignNamesOriginsAndProxies) {
  EXPECT_NE(why({{"host", "evil.example:4319"}}).find("evil.example"), std::string::npos);
  EXPECT_NE(why({{"host", "127.0.0.1.evil.example"}}), "");
  EXPECT_NE(why({{"host", "[::2]:1"}}), "");
  EXPECT_NE(why({{"host", "localhost"}, {"origin", "https://evil.example"}}), "");
  EXPECT_NE(why({{"host", "localhost"}, {"origin", "null"}}), "");
  EXPECT_NE(why({{"host", "localhost"}, {"origin", "http://localhost.evil.example"}}), "");
  for (const char* name : {"forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip"}) {
    EXPECT_NE(why({{"host", "localhost"}, {name, "10.0.0.1"}}).find(name), std::string::npos);
  }
}

}  // namespace
}  // namespace nuages::server
