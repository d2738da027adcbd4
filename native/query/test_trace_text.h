// Traces as text, for golden tests: one span per line.
//
//   t1/3 2 client "SELECT" 30 5 label="SELECT FROM orders" fp=7 system=sqlite
//
// is span 3 of trace 1, child of span 2 ("-" for none), started 30 ms after the start of time and
// took 5 ms. Keys: service, label, fp, system, nk (nuages.kind), task, entry=1, queries (query
// count), status=error, message, statement, file, line, function, link=t1/4,
// event="statement|count|ns|file|line|function|relation|suggestion|fingerprint". Test code only.
#pragma once

#include <cstdlib>
#include <sstream>
#include <string>
#include <vector>

#include "query/span_record.h"
#include "store/attribute_text.h"

namespace nuages::query::testing {

inline std::pair<TraceId, SpanId> parse_id(const std::string& text) {
  const size_t slash = text.find('/');
  return {{0, std::strtoull(text.c_str() + 1, nullptr, 16)},
          std::strtoull(text.c_str() + slash + 1, nullptr, 16)};
}

// Splits at blanks outside quotes; quotes go, \" stays a quote.
inline std::vector<std::string> words_of(const std::string& line) {
  std::vector<std::string> words;
  std::string word;
  bool quoted = false;
  for (size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '\\' && i + 1 < line.size()) {
      word += line[++i];
    } else if (line[i] == '"') {
      quoted = !quoted;
    } else if (line[i] == ' ' && !quoted) {
      if (!word.empty()) words.push_back(word);
      word.clear();
    } else {
      word += line[i];
    }
  }
  if (!word.empty()) words.push_back(word);
  return words;
}

inline std::string event_json(const std::string& text) {
  std::vector<std::string> parts(9);
  std::istringstream in(text);
  for (auto& part : parts) std::getline(in, part, '|');
  auto string = [](const std::string& value) {
    std::string out;
    store::append_json_string(out, value);
    return out;
  };
  auto number = [](const std::string& value) { return value.empty() ? "0" : value; };
  return R"([{"time":"0","name":"nuages.n_plus_one","attributes":{"db.statement":)" +
         string(parts[0]) + ",\"count\":" + number(parts[1]) +
         ",\"duration_ns\":" + number(parts[2]) + ",\"code.filepath\":" + string(parts[3]) +
         ",\"code.lineno\":" + number(parts[4]) + ",\"code.function\":" + string(parts[5]) +
         ",\"django.relation\":" + string(parts[6]) + ",\"suggestion\":" + string(parts[7]) +
         ",\"db.fingerprint\":" + number(parts[8]) + "}}]";
}

inline SpanRecord parse_span(const std::string& line) {
  const auto words = words_of(line);
  SpanRecord span;
  std::tie(span.trace_id, span.span_id) = parse_id(words.at(0));
  if (words.at(1) != "-") span.parent_id = std::strtoull(words[1].c_str(), nullptr, 16);
  for (uint8_t kind = 0; kind < 6; ++kind) {
    if (kind_name(kind) == words.at(2)) span.kind = kind;
  }
  span.name = words.at(3);
  span.start = static_cast<int64_t>(std::strtod(words.at(4).c_str(), nullptr) * 1e6);
  span.duration = static_cast<uint64_t>(std::strtod(words.at(5).c_str(), nullptr) * 1e6);
  span.entry = span.kind == kServer || span.kind == kConsumer || span.parent_id == 0;
  for (size_t i = 6; i < words.size(); ++i) {
    const size_t equals = words[i].find('=');
    const std::string key = words[i].substr(0, equals);
    const std::string value = words[i].substr(equals + 1);
    const auto number = static_cast<uint32_t>(std::strtoul(value.c_str(), nullptr, 10));
    if (key == "service") span.service = value;
    if (key == "label") span.sql_label = value;
    if (key == "fp") span.fingerprint = number;
    if (key == "system") span.db_system = value;
    if (key == "nk") span.nuages_kind = value;
    if (key == "task") span.task = value;
    if (key == "queries") span.query_count = static_cast<int32_t>(number);
    if (key == "status" && value == "error") span.status = kStatusError;
    if (key == "message") span.status_message = value;
    if (key == "statement") span.statement = value;
    if (key == "file") span.code_file = value;
    if (key == "line") span.code_line = number;
    if (key == "function") span.code_function = value;
    if (key == "event") span.events = event_json(value);
    if (key == "link") {
      const auto [trace_id, span_id] = parse_id(value);
      span.links.push_back({trace_id, span_id});
    }
  }
  return span;
}

inline std::vector<SpanRecord> parse_spans(std::istream& in) {
  std::vector<SpanRecord> spans;
  for (std::string line; std::getline(in, line);) {
    if (!line.empty()) spans.push_back(parse_span(line));
  }
  return spans;
}

}  // namespace nuages::query::testing
