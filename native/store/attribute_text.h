// Attributes as text: one line `key=json` per attribute, types kept.
//
// The JSON form of a value: strings, booleans, integers, arrays and objects as themselves; doubles
// always with a point or an exponent, so 1.0 and 1 differ; an empty value is null. JSON has no
// bytes, NaN and infinities: they are {"$bytes":"<base64>"} and {"$double":"NaN"}; a real key that
// starts with '$' gets one more '$'. Lines split on '\n' because JSON text holds no raw newline;
// that is also what the store's index on attributes looks up. In a key, '=' is escaped as JSON
// would escape any character.
//
// Pure functions; linear in the text; nesting is bounded by the reader of wire/otlp_reader.h.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "wire/otlp_model.h"

namespace nuages::store {

// Appends text as a JSON string with its quotes. The text is UTF-8 already.
void append_json_string(std::string& out, std::string_view text);
void append_json_value(std::string& out, const wire::Value& value);
// Appends {"k":v,...}. Keys stay as they are: only keys inside values are told from "$bytes".
void append_json_object(std::string& out, const std::vector<wire::KeyValue>& attributes);

// Appends `key=json`, with a newline before it unless `out` ends at `begin`, where the lines start.
void append_attribute_line(std::string& out, size_t begin, std::string_view key,
                           const wire::Value& value);
// The line of a key and a value that is JSON already.
std::string attribute_line(std::string_view key, std::string_view json);

// Calls f(key, json) for each line; the key is unescaped.
void read_attribute_lines(std::string_view lines,
                          const std::function<void(std::string_view, std::string_view)>& f);

}  // namespace nuages::store
