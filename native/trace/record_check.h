// Whether bytes that somebody else wrote can be read as a record or a description.
//
// RecordView, read_description and BatchEncoder trust their input; this makes it trustworthy: every
// size stays inside its parent, entries tile the log exactly, every value has the bytes of its
// type. Texts are not judged here (a damaged text is harmless to read); who sends what was checked
// also looks at the encoded message. Pure, linear, no allocation, any thread.
#pragma once

#include <cstdint>
#include <string_view>

namespace nuages::trace {

bool valid_record(std::string_view bytes, uint32_t scope_count) noexcept;
bool valid_description(std::string_view bytes) noexcept;  // a scope or a resource; empty is one

}  // namespace nuages::trace
