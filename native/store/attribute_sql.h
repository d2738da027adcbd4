// The SQL that finds spans by an attribute, wherever the block builder put it: a column of its own,
// the lines of the others, or the statement kept once per fingerprint.
//
// Pure; values travel as parameters named attribute_*.
#pragma once

#include <string>

#include "store/promoted.h"
#include "store/store.h"

namespace nuages::store {

// The condition that a row's promoted attribute has a value; `key` and `value` are the names of two
// String parameters.
std::string promoted_condition(Field field, const std::string& key, const std::string& value);

// A condition on rows of nuages.spans. The value is compared as text: 42 finds the number and "42".
std::string attribute_condition(const std::string& key, const std::string& value,
                                Parameters& parameters);

// The same for lines of attributes alone: nuages.resources.
std::string attribute_line_condition(const std::string& key, const std::string& value,
                                     Parameters& parameters);

}  // namespace nuages::store
