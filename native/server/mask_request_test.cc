#include "server/mask_request.h"

#include <gtest/gtest.h>

#include "wire/otlp_reader_testing.h"

namespace nuages::server {
namespace {

using wire::testing::key_value;
using wire::testing::Message;
using wire::testing::request;
using wire::testing::span;
using wire::testing::string_value;

mask::Policy policy_of(const char* profile) {
  mask::Policy policy;
  EXPECT_TRUE(mask::Policy::of_profile(profile, policy));
  return policy;
}

bool holds(const std::string& text, const char* part) {
  return text.find(part) != std::string::npos;
}

TEST(MaskRequest, HidesWhatTheRulesFindWhereverItStands) {
  const Message list = Message().message(1, string_value("x jane@example.com y"));
  const Message pairs = Message()
                            .message(1, key_value("inner", string_value("in@example.com")))
                            .message(1, key_value("password", string_value("hunter2")));
  const std::string body =
      request({span(1, 2, "mail to anna@example.com")
                   .message(9, key_value("note", string_value("bob@example.com called")))
                   .message(9, key_value("list", Message().message(5, list)))
                   .message(9, key_value("pairs", Message().message(6, pairs)))
                   .message(9, key_value("count", Message().varint(3, 42)))
                   .message(11, Message()
                                    .fixed64(1, 7)
                                    .bytes(2, "event of eve@example.com")
                                    .message(3, key_value("why", string_value("ssn 123-45-6789"))))
                   .message(15, Message().bytes(2, "failed for carl@example.com").varint(3, 2))});
  const std::string masked = mask_request(body, policy_of("on"));
  EXPECT_FALSE(holds(masked, "example.com"));
  EXPECT_FALSE(holds(masked, "6789"));
  EXPECT_FALSE(holds(masked, "hunter2")) << "a key that says so";
  for (const char* kept : {"mail to ***@***.**", " called", "service.name", "note", "inner", "list",
                           "GET", "event of "}) {
    EXPECT_TRUE(holds(masked, kept)) << kept;
  }
  EXPECT_EQ(mask_request(masked, policy_of("on")), masked) << "nothing is left to hide";
}

TEST(MaskRequest, WhatHoldsNothingPrivateStaysAsItIsByteByByte) {
  const std::string body =
      request({span(1, 2).bytes(4, wire::testing::id_bytes(8, 9)).fixed32(16, 0x301).varint(10, 3),
               span(3, 4).bytes(99, "a field of the future")});
  EXPECT_EQ(mask_request(body, policy_of("gdpr")), body);
  for (size_t cut = 1; cut < body.size(); ++cut) {
    const std::string bad = body.substr(0, cut);
    const std::string out = mask_request(bad, policy_of("on"));
    EXPECT_LE(out.size(), bad.size() + 8) << "and nothing crashes";
  }
}

TEST(MaskRequest, DropsAttributesOfPersonsAndValuesThatAreTooDeep) {
  Message deep = string_value("deep@example.com");
  for (int i = 0; i < 100; ++i) deep = Message().message(5, Message().message(1, deep));
  const std::string masked =
      mask_request(request({span(1, 2)
                                .message(9, key_value("user.id", Message().varint(3, 77)))
                                .message(9, key_value("deep", deep))}),
                   policy_of("gdpr"));
  EXPECT_FALSE(holds(masked, "user.id"));
  EXPECT_FALSE(holds(masked, "example.com"));
}

}  // namespace
}  // namespace nuages::server
