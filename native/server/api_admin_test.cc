// What administrators ask for by POST: parameters and answers. The store is only a place here.
#include <gtest/gtest.h>

#include "server/api.h"
#include "store/test_store.h"

namespace nuages::server {
namespace {

using store::testing::process_store;

class ApiAdminTest : public store::testing::EngineTest {};

TEST_F(ApiAdminTest, WhatAdministratorsAskForIsReadStrictly) {
  store::EraseRequest erased;
  std::string folder;
  const Api api(process_store(), {.status = [] { return ServerStatus(); },
                                  .erase =
                                      [&](const store::EraseRequest& request) {
                                        erased = request;
                                        return store::EraseReport{3, {"20261125"}, 1, 0};
                                      },
                                  .backup = [&](const std::string& to) -> Result<store::Manifest> {
                                    folder = to;
                                    return Error{ErrorCode::kUnavailable, "the disk is full"};
                                  },
                                  .backups = [] { return std::vector<std::string>{"/old"}; }});
  const auto post = [&](const std::string& path, const std::string& body) {
    Request request;
    request.method = "POST";
    request.path = path;
    request.body = body;
    return api.handle(request);
  };
  const Response good = post("/api/v1/erasures", R"({"attribute":"user.name=a=b"})");
  EXPECT_EQ(good.body,
            R"({"spans":3,"quarantined_requests":1,"quarantined_files":0,"days":["20261125"],)"
            R"("backups":["/old"]})");
  EXPECT_EQ(erased.attribute_key, "user.name");
  EXPECT_EQ(erased.attribute_value, "a=b");
  EXPECT_EQ(post("/api/v1/erasures", R"({"trace_id":"0123456789abcdef0123456789abcdef"})").status,
            200);
  EXPECT_TRUE(erased.trace.has_value());
  for (const char* bad :
       {"", "{}", "[]", "{", R"({"attribute":"novalue"})", R"({"attribute":"=x"})",
        R"({"trace_id":"12"})", R"({"trace_id":7})", R"({"attribute":"a=b","other":1})",
        R"({"attribute":"a=b","trace_id":"0123456789abcdef0123456789abcdef"})"}) {
    EXPECT_EQ(post("/api/v1/erasures", bad).status, 400) << bad;
  }
  EXPECT_EQ(post("/api/v1/backups", R"({"folder":"relative"})").status, 400);
  EXPECT_EQ(post("/api/v1/backups", R"({"folder":"/b"})").status, 503);
  EXPECT_EQ(folder, "/b");
  EXPECT_EQ(post("/api/v1/checks", "{}").status, 503) << "not wired here";
  EXPECT_EQ(post("/api/v1/traces", "{}").status, 405);
  Request get;
  get.method = "GET";
  get.path = "/api/v1/erasures";
  EXPECT_EQ(api.handle(get).status, 405);
}

}  // namespace
}  // namespace nuages::server
