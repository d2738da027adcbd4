// Who may talk to a port that is open without a key: the rule "loopback is open" for HTTP.
//
// A browser on this machine is a way in for any web page (DNS rebinding, cross-site requests), and
// a reverse proxy turns the whole network into loopback. So on a loopback listener the Host must be
// a loopback name, an Origin, when there is one, too, and no forwarding header may be present. Pure
// function.
#pragma once

#include <optional>
#include <string>

#include "server/http_types.h"

namespace nuages::server {

// Why the request is refused, or nothing.
std::optional<std::string> refuse_foreign(const Request& request);

}  // namespace nuages::server
