#include "mask/policy.h"

#include <gtest/gtest.h>

namespace nuages::mask {
namespace {

std::string url(std::string_view in, bool all = false) {
  std::string out;
  return redact_url(in, all, out) ? out : std::string(in);
}

TEST(Policy, HidesSecretsOfUrls) {
  EXPECT_EQ(url("/a?token=abc&page=2#top"), "/a?token=***&page=2#top");
  EXPECT_EQ(url("/a?page=2"), "/a?page=2");
  EXPECT_EQ(url("https://jane:pw@shop.example/a"), "https://***@shop.example/a");
  EXPECT_EQ(url("https://shop.example/a?next=/x?y@z"), "https://shop.example/a?next=/x?y@z");
  EXPECT_EQ(url("Password=x;a=1"), "Password=***;a=1");
  EXPECT_EQ(url("/a?name=Jane&token="), "/a?name=Jane&token=");
  EXPECT_EQ(url("/a?name=Jane+Doe&jane", true), "/a?name=***&***");
  EXPECT_EQ(url("/a?", true), "/a?");
  EXPECT_EQ(url("", true), "");
}

std::string attribute(const Policy& policy, std::string_view key, std::string_view value) {
  std::string out;
  switch (policy.attribute(key, value, out)) {
    case Verdict::kDrop:
      return "(dropped)";
    case Verdict::kChanged:
      return out;
    default:
      return std::string(value);
  }
}

TEST(Policy, ProfilesDecideByKey) {
  Policy on, off, gdpr;
  ASSERT_TRUE(Policy::of_profile("on", on));
  ASSERT_TRUE(Policy::of_profile("off", off));
  ASSERT_TRUE(Policy::of_profile("gdpr", gdpr));
  EXPECT_FALSE(Policy::of_profile("strict", on));
  EXPECT_EQ(attribute(on, "http.url", "http://a/b?sig=1&q=jane"), "http://a/b?sig=***&q=jane");
  EXPECT_EQ(attribute(gdpr, "http.url", "http://a/b?sig=1&q=jane"), "http://a/b?sig=***&q=***");
  EXPECT_EQ(attribute(off, "http.url", "http://a/b?sig=1"), "http://a/b?sig=1");
  EXPECT_EQ(attribute(on, "http.target", "/x?token=a&m=j@x.org"), "/x?token=***&m=***@***.**");
  EXPECT_EQ(attribute(on, "http.request.header.authorization", "Basic x"), "***");
  EXPECT_EQ(attribute(on, "app.Password", "x"), "***");
  EXPECT_EQ(attribute(on, "password.policy", "x"), "x");
  EXPECT_EQ(attribute(on, "user.id", "7"), "7");
  EXPECT_EQ(attribute(gdpr, "user.id", "7"), "(dropped)");
  EXPECT_EQ(attribute(gdpr, "enduser.id", "7"), "(dropped)");
  EXPECT_EQ(attribute(gdpr, "user_agent.original", "curl"), "curl");
  EXPECT_EQ(attribute(gdpr, "net.peer.name", "db.internal"), "db.internal");
  EXPECT_EQ(attribute(gdpr, "note", "from 203.0.113.7, card 4111 1111 1111 1111"),
            "from *.*.*.*, card ****");
  EXPECT_EQ(attribute(on, "note", "from 203.0.113.7, card 4111 1111 1111 1111"),
            "from 203.0.113.7, card 4111 1111 1111 1111");
  EXPECT_EQ(attribute(gdpr, "note", "version 1.2.3.4.5, 4111 1111 1111 1112, 300.1.1.1"),
            "version 1.2.3.4.5, 4111 1111 1111 1112, 300.1.1.1");
  EXPECT_EQ(gdpr.key("session.id"), Verdict::kDrop);
  EXPECT_FALSE(off.any());
}

TEST(Policy, UserRulesComeLast) {
  UserRules rules;
  rules.patterns.push_back({std::move(*Pattern::compile("MRN-[0-9]+")), "MRN-#"});
  rules.patterns.push_back({std::move(*Pattern::compile("#+")), "*"});
  rules.keys = {"customer.*", "Note?"};
  Policy policy;
  policy.user = &rules;
  EXPECT_EQ(attribute(policy, "x", "MRN-12 and MRN-3"), "MRN-* and MRN-*");
  EXPECT_EQ(attribute(policy, "customer.name", "Ann"), "***");
  EXPECT_EQ(attribute(policy, "note1", "Ann"), "***");
  EXPECT_EQ(attribute(policy, "note12", "Ann"), "Ann");
  EXPECT_EQ(policy.key("customer.age"), Verdict::kChanged);
}

TEST(Policy, TheProcessHasOne) {
  EXPECT_FALSE(process_policy().any());
  EXPECT_FALSE(set_process_profile("nothing", true));
  ASSERT_TRUE(set_process_profile("gdpr", true));
  UserRules rules;
  rules.keys = {"a"};
  rules.id = 5;
  set_process_rules(std::move(rules));
  EXPECT_TRUE(process_policy().private_data);
  ASSERT_TRUE(set_process_profile("off", false));
  ASSERT_NE(process_policy().user, nullptr) << "the user's rules do not depend on the profile";
  EXPECT_EQ(process_policy().user->keys.front(), "a");
  set_process_rules({});
  EXPECT_EQ(process_policy().user, nullptr);
}

TEST(ShellPattern, Matches) {
  EXPECT_TRUE(matches_shell_pattern("*", ""));
  EXPECT_TRUE(matches_shell_pattern("a*c*", "abcbd"));
  EXPECT_FALSE(matches_shell_pattern("a*c", "abcbd"));
  EXPECT_TRUE(matches_shell_pattern("a?c", "aBc"));
  EXPECT_FALSE(matches_shell_pattern("", "a"));
}

}  // namespace
}  // namespace nuages::mask
