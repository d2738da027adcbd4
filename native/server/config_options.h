// What a configuration file says about the server's own options. Pure functions.
#pragma once

#include "base/result.h"
#include "gateway/config.h"
#include "server/options.h"

namespace nuages::server {

// The options with what the file says, except those given on the command line.
Result<Options> with_config(Options options, const gateway::Config& config);

// Everything goes to the store: what the server does without a file.
gateway::Config default_config();

// For people: what the configuration does, a line each.
std::string describe(const gateway::Config& config);

}  // namespace nuages::server
