// What a port speaks, asked after an exchange with it failed in a way that has many causes: a gRPC
// client on an HTTP/1.1 port, plaintext on a TLS port and the other way round all end in the same
// errors of libcurl. Inside net only.
//
// One plain connection, one request line, one look at the first bytes that come back: a TLS alert,
// an HTTP/1 status line or an HTTP/2 frame; when nothing comes, one TLS handshake. Not through
// proxies, not to Unix sockets.
#pragma once

#include <curl/curl.h>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "net/otlp_client.h"

namespace nuages::net {

enum class Peer : uint8_t { kUnknown, kTls, kHttp1, kHttp2 };

// From the first bytes a server sends to an HTTP/1.1 request in plaintext.
Peer peer_from_answer(std::string_view bytes);

// Waits for the multi handle and, when given, for one more socket; false: stop.
using PeerWait = std::function<bool(curl_waitfd* also)>;
// Asks; ends early when `wait` says so.
Peer probe_peer(CURLM* multi, const Endpoint& endpoint, const PeerWait& wait);

// One sentence with the fix, or empty when `peer` does not explain why `config` failed.
std::string explain_peer(Peer peer, const Endpoint& endpoint, const OtlpClientConfig& config);

}  // namespace nuages::net
