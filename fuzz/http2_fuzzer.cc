// What peers send to the gRPC port: the input goes over a real socket into a GrpcSession, as one
// piece or split where its first byte says. Nothing may crash or hang, no call may have a message
// above the limit, every call is answered once, and the session ends when its peer has gone.
//
// Its first bit puts the connection preface and SETTINGS in front, so that frames are reached
// without guessing them; without it the input is the whole conversation.
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/write.hpp>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>

#include "server/grpc_session.h"

namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;
using nuages::server::GrpcCall;
using nuages::server::GrpcOptions;
using nuages::server::GrpcSession;
using nuages::server::GrpcStatus;
using nuages::server::MemoryBudget;

constexpr size_t kLimit = 1000;
constexpr std::string_view kPreface("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", 33);

void require(bool condition) {
  if (!condition) std::abort();
}

// Reads until the session hangs up.
void drain(tcp::socket& peer, std::string& buffer) {
  peer.async_read_some(asio::buffer(buffer), [&](const error_code& error, size_t) {
    if (!error) drain(peer, buffer);
  });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const uint8_t form = data[0];
  std::string text(reinterpret_cast<const char*>(data) + 1, size - 1);
  if ((form & 1) != 0) text.insert(0, kPreface);

  asio::io_context io(1);
  MemoryBudget budget(16 * kLimit);
  auto options = std::make_shared<GrpcOptions>();
  options->max_message_bytes = kLimit;
  options->max_streams = 8;
  options->timeout_ns = 1'000'000'000;
  options->http_address = "127.0.0.1:4318";
  options->handler = [](GrpcCall call, const GrpcOptions::Done& done) {
    require(call.message.size() <= kLimit);
    if (call.message.size() % 2 != 0) {
      done({GrpcStatus::kInvalidArgument, call.path, true, ""});
    } else {
      done({GrpcStatus::kOk, "", false, std::move(call.message)});
    }
  };

  error_code error;
  tcp::acceptor acceptor(io, {asio::ip::address_v4::loopback(), 0});
  tcp::socket peer(io);
  peer.connect(acceptor.local_endpoint(), error);
  require(!error);
  tcp::socket accepted = acceptor.accept(asio::make_strand(io), error);
  require(!error);
  std::weak_ptr<GrpcSession> alive;
  {
    auto session = std::make_shared<GrpcSession>(std::move(accepted), options, budget);
    alive = session;
    session->start();
  }
  std::string buffer(16 << 10, '\0');
  drain(peer, buffer);
  const size_t cut = text.size() * (form >> 1) / 128;
  asio::async_write(peer, asio::buffer(text.data(), cut), [&](const error_code& cut_off, size_t) {
    if (cut_off) return;
    asio::post(io, [&] {
      asio::async_write(peer, asio::buffer(text.data() + cut, text.size() - cut),
                        [&](const error_code&, size_t) {
                          error_code gone;
                          std::ignore = peer.shutdown(tcp::socket::shutdown_send, gone);
                        });
    });
  });
  io.run_for(std::chrono::seconds(10));
  std::ignore = peer.set_option(tcp::socket::linger(true, 0), error);  // or ports run out
  require(alive.expired());
  require(budget.take(16 * kLimit));  // all of it was given back
  return 0;
}
