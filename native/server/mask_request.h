// Masking on ingest: an ExportTraceServiceRequest with personal data taken out by the agent's rules
// (mask/policy.h), before anything of it is written down.
//
// Span names, status messages, attributes of resources, scopes, spans, events and links, event
// names and trace states are looked at, whatever is nested in them; ids, times and fields that this
// program does not know are kept byte by byte. An attribute that the policy drops is gone. A
// request that is not protobuf comes back as it is: the reader behind says what is wrong with it.
// Values nested deeper than the reader takes are dropped.
//
// Pure; any thread. Cost: one pass and one copy, and the policy's look at every string.
#pragma once

#include <string>
#include <string_view>

#include "mask/policy.h"

namespace nuages::server {

std::string mask_request(std::string_view request, const mask::Policy& policy);

}  // namespace nuages::server
