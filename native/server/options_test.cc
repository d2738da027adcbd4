#include "server/options.h"

#include <gtest/gtest.h>

#include <vector>

namespace nuages::server {
namespace {

CommandLine parse(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "nuages-server");
  return parse_command_line(static_cast<int>(arguments.size()), arguments.data(), "/lib/chdb.so",
                            "nuages-server 1.2.3");
}

TEST(Options, Defaults) {
  const CommandLine line = parse({});
  EXPECT_EQ(line.action, CommandLine::Action::kRun);
  EXPECT_EQ(line.options.grpc.text(), "127.0.0.1:4317");
  EXPECT_EQ(line.options.http.text(), "127.0.0.1:4318");
  EXPECT_EQ(line.options.ui.text(), "127.0.0.1:4319");
  EXPECT_EQ(line.options.store_library, "/lib/chdb.so");
  EXPECT_FALSE(line.options.allow_remote);
}

TEST(Options, Addresses) {
  const CommandLine line = parse({"--grpc=localhost:0", "--http", "[::1]:99", "--data=/x"});
  EXPECT_EQ(line.options.grpc.text(), "127.0.0.1:0");
  EXPECT_EQ(line.options.http.text(), "[::1]:99");
  EXPECT_EQ(line.options.http.host, "::1");
  EXPECT_EQ(line.options.data, "/x");
  EXPECT_EQ(parse({"--data=/x", "--data=/y"}).options.data, "/y");
  for (const char* bad : {"--grpc=4317", "--grpc=:1", "--grpc=127.0.0.1:", "--grpc=127.0.0.1:70000",
                          "--grpc=127.0.0.1:1x", "--grpc=::1:80"}) {
    const CommandLine failed = parse({bad});
    EXPECT_EQ(failed.action, CommandLine::Action::kFail) << bad;
    EXPECT_NE(failed.text.find("--grpc="), std::string::npos) << failed.text;
  }
}

TEST(Options, MaskingAndCertificates) {
  EXPECT_FALSE(parse({}).options.masking.any());
  EXPECT_TRUE(parse({"--masking=gdpr"}).options.masking.private_data);
  EXPECT_TRUE(parse({"--log-format=json"}).options.json_log);
  EXPECT_NE(parse({"--log-format=xml"}).text.find("--log-format=xml"), std::string::npos);
  EXPECT_NE(parse({"--masking=strict"}).text.find("--masking=strict"), std::string::npos);
  EXPECT_NE(parse({"--tls-cert=a.pem"}).text.find("--tls-key"), std::string::npos);
  EXPECT_NE(parse({"--tls-client-ca=a.pem"}).text.find("--tls-cert"), std::string::npos);
  EXPECT_EQ(parse({"--tls-cert=a.pem", "--tls-key=b.pem"}).options.tls.key, "b.pem");
}

TEST(Options, WrongValuesAreNamed) {
  EXPECT_NE(parse({"--log-level=loud"}).text.find("loud"), std::string::npos);
  EXPECT_NE(parse({"--nonsense"}).text.find("nonsense"), std::string::npos);
  EXPECT_EQ(parse({"--peer-timeout=0"}).action, CommandLine::Action::kFail);
  EXPECT_EQ(parse({"--max-body=0"}).action, CommandLine::Action::kFail);
  EXPECT_EQ(parse({"--data="}).action, CommandLine::Action::kFail);
}

TEST(Options, SizesThatWouldOverflowAreRefused) {
  EXPECT_NE(parse({"--max-wal-mib=99999999999999"}).text.find("--max-wal-mib"), std::string::npos);
  EXPECT_EQ(parse({"--max-wal-mib=1048576"}).options.max_wal_bytes, uint64_t{1} << 40);
}

TEST(Options, VersionAndHelp) {
  EXPECT_EQ(parse({"--version"}).text, "nuages-server 1.2.3\n");
  EXPECT_EQ(parse({"--help"}).action, CommandLine::Action::kPrint);
  EXPECT_NE(parse({"--help"}).text.find("--store-library"), std::string::npos);
}

TEST(Options, LoopbackNames) {
  for (const char* host : {"localhost", "app.localhost", "127.0.0.1", "127.9.9.9", "::1"}) {
    EXPECT_TRUE(is_loopback_host(host)) << host;
  }
  for (const char* host : {"", "0.0.0.0", "example.com", "127.0.0.1.evil.com", "localhost.evil.com",
                           "10.0.0.1", "::"}) {
    EXPECT_FALSE(is_loopback_host(host)) << host;
  }
}

}  // namespace
}  // namespace nuages::server
