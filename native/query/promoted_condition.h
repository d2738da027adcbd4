// The SQL condition that a promoted attribute (store/promoted.h) of a row of spans has a value,
// given as text. Pure function; any thread.
#pragma once

#include <string>

#include "store/promoted.h"

namespace nuages::query {

// `key` and `value` are the names of two String parameters.
std::string promoted_condition(store::Field field, const std::string& key,
                               const std::string& value);

}  // namespace nuages::query
