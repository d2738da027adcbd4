// The text tree of a trace and the traces tied to it by links.
//
// Full: every span under its parent; a linked task hangs below the span it links to. Guide: the
// flat layout people read: middleware, templates, transactions and serializer steps fold into
// counts on the line above ("[+12 middleware, 3 template]"), serializer.save stands beside what it
// enclosed and after it, tasks stand below the request itself, more than kMaxRepetitions equal
// leaves fold into one line. Spans with errors never fold. Times are always the true ones.
//
//   POST /api/orders/ (250ms)
//   ├── OrderViewSet.create (200ms)
//   │   └── INSERT INTO orders (...) VALUES (...) (10ms)
//   └── Celery Task: process_order (150ms) [separate trace, linked]
//
// Findings follow after an empty line. Pure; linear in the spans besides sorting; no recursion.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "query/findings.h"
#include "query/trace.h"

namespace nuages::query {

enum class Layout : uint8_t { kGuide, kFull };

std::string render_tree(const Trace& trace, const std::vector<Finding>& findings, Layout layout);

// "250ms", "0.4ms" below one millisecond.
std::string duration_text(uint64_t nanoseconds);

}  // namespace nuages::query
