#include "net/peer_probe.h"

#include <sys/socket.h>

#include <memory>

namespace nuages::net {
namespace {

constexpr size_t kEnoughBytes = 1024;

struct EasyFree {
  void operator()(CURL* easy) const { curl_easy_cleanup(easy); }
};

std::string address_of(const Endpoint& endpoint) {
  const bool ipv6 = endpoint.host.find(':') != std::string::npos;
  return (ipv6 ? "[" + endpoint.host + "]" : endpoint.host) + ":" + std::to_string(endpoint.port);
}

curl_socket_t open_socket(void*, curlsocktype, curl_sockaddr* address) {
  return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

bool connect_only(CURLM* multi, CURL* easy, const PeerWait& wait) {
  for (;;) {
    int running = 0;
    if (curl_multi_perform(multi, &running) != CURLM_OK) return false;
    int left = 0;
    if (const CURLMsg* message = curl_multi_info_read(multi, &left);
        message != nullptr && message->msg == CURLMSG_DONE && message->easy_handle == easy) {
      return message->data.result == CURLE_OK;
    }
    if (!wait(nullptr)) return false;
  }
}

std::string exchange(CURL* easy, const std::string& request, const PeerWait& wait) {
  curl_socket_t socket = CURL_SOCKET_BAD;
  if (curl_easy_getinfo(easy, CURLINFO_ACTIVESOCKET, &socket) != CURLE_OK) return {};
  size_t sent = 0;  // some hundred bytes into an empty socket buffer: all or nothing
  if (curl_easy_send(easy, request.data(), request.size(), &sent) != CURLE_OK) return {};
  std::string answer;
  char buffer[kEnoughBytes];
  while (answer.size() < kEnoughBytes) {
    size_t got = 0;
    const CURLcode code = curl_easy_recv(easy, buffer, sizeof buffer, &got);
    if (code == CURLE_OK && got > 0) {
      answer.append(buffer, got);
      continue;
    }
    if (code != CURLE_AGAIN) break;  // closed or broken: what came has to do
    // What comes at once is enough for a TLS alert or a frame, not for an error page.
    if (!answer.empty() && !answer.starts_with("HTTP/1")) break;
    curl_waitfd readable{socket, CURL_WAIT_POLLIN, 0};
    if (!wait(&readable)) break;
  }
  return answer;
}

}  // namespace

Peer peer_from_answer(std::string_view bytes) {
  if (bytes.starts_with("HTTP/1")) {
    // Go and nginx answer plaintext on a TLS port in words.
    return bytes.find("HTTPS") != std::string_view::npos ? Peer::kTls : Peer::kHttp1;
  }
  if (bytes.size() >= 3 && bytes[0] == 0x15 && bytes[1] == 0x03) return Peer::kTls;
  // A frame: 24 bits of length, the type SETTINGS (4) or GOAWAY (7).
  if (bytes.size() >= 9 && bytes[0] == 0 && (bytes[3] == 4 || bytes[3] == 7)) return Peer::kHttp2;
  return Peer::kUnknown;
}

namespace {

// Connects, with a TLS handshake for https, and for http asks; empty when that told nothing.
std::string ask(CURLM* multi, const char* scheme, const std::string& address, const PeerWait& wait,
                bool& connected) {
  const std::unique_ptr<CURL, EasyFree> easy(curl_easy_init());
  if (!easy) return {};
  const std::string url = scheme + ("://" + address + "/");
  curl_easy_setopt(easy.get(), CURLOPT_URL, url.c_str());
  curl_easy_setopt(easy.get(), CURLOPT_CONNECT_ONLY, 1L);
  curl_easy_setopt(easy.get(), CURLOPT_FRESH_CONNECT, 1L);
  curl_easy_setopt(easy.get(), CURLOPT_PROXY, "");
  curl_easy_setopt(easy.get(), CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy.get(), CURLOPT_OPENSOCKETFUNCTION, &open_socket);
  // Nothing is sent over this connection: whose certificate it is does not matter.
  curl_easy_setopt(easy.get(), CURLOPT_SSL_VERIFYPEER, 0L);
  curl_easy_setopt(easy.get(), CURLOPT_SSL_VERIFYHOST, 0L);
  if (curl_multi_add_handle(multi, easy.get()) != CURLM_OK) return {};
  connected = connect_only(multi, easy.get(), wait);
  std::string answer;
  if (connected && url.starts_with("http:")) {
    answer = exchange(easy.get(),
                      "GET / HTTP/1.1\r\nHost: " + address + "\r\nConnection: close\r\n\r\n", wait);
  }
  curl_multi_remove_handle(multi, easy.get());
  return answer;
}

}  // namespace

Peer probe_peer(CURLM* multi, const Endpoint& endpoint, const PeerWait& wait) {
  const std::string address = address_of(endpoint);
  bool connected = false;
  const std::string answer = ask(multi, "http", address, wait, connected);
  if (!connected || !answer.empty()) return peer_from_answer(answer);
  // Closed without a word, as some TLS servers do.
  ask(multi, "https", address, wait, connected);
  return connected ? Peer::kTls : Peer::kUnknown;
}

std::string explain_peer(Peer peer, const Endpoint& endpoint, const OtlpClientConfig& config) {
  const bool grpc = config.protocol == Protocol::kGrpc;
  const std::string address = address_of(endpoint);
  if (peer == Peer::kTls && !endpoint.tls) {
    return "the receiver at " + address + " speaks TLS: write the endpoint as https://" + address;
  }
  if (peer == Peer::kHttp1 && grpc) {
    return "the receiver at " + address +
           " speaks HTTP/1.1, not gRPC: use its OTLP/gRPC port (usually 4317) or "
           "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf";
  }
  if (peer == Peer::kHttp2 && !grpc) {
    return "the receiver at " + address +
           " speaks gRPC, not OTLP/HTTP: use its OTLP/HTTP port (usually 4318) or "
           "OTEL_EXPORTER_OTLP_PROTOCOL=grpc";
  }
  return {};
}

}  // namespace nuages::net
