// How a finding reads in JSON; shared by the routes that return findings.
#pragma once

#include "query/findings.h"
#include "query/json_writer.h"

namespace nuages::server::api {

// Writes the fields into an open object.
void write_finding_fields(query::JsonWriter& json, const query::Finding& finding);

}  // namespace nuages::server::api
