#include "query/trace_reader.h"

#include <algorithm>
#include <set>
#include <tuple>
#include <unordered_set>

#include "query/rows.h"

namespace nuages::query {
namespace {

constexpr const char* kSpanSelect =
    "SELECT lower(hex(trace_id)), span_id, parent_id, toUnixTimestamp64Nano(ts), duration, kind,"
    " status, entry, name, status_message, service, scope, resource, http_method, http_route,"
    " http_status, db_system, db_name, db_operation, db_table, fingerprint, code_file,"
    " code_function, code_line, task, queue, nuages_kind, query_count, n_plus_one,"
    " max_repetitions, events, links, extra, promoted, attributes,"
    " arrayMap(id -> lower(hex(id)), link_trace_id), link_span_id FROM nuages.spans";

struct SqlText {
  std::string text, label;
};

TraceId trace_id_of(std::string_view hex) { return trace_id_from_hex(hex).value_or(TraceId{}); }

// A record and what its attributes are rebuilt from, once the SQL text is known.
struct RawSpan {
  SpanRecord span;
  std::string promoted, lines;
};

RawSpan read_row(const Row& row) {
  RawSpan raw;
  SpanRecord& span = raw.span;
  size_t i = 0;
  span.trace_id = trace_id_of(row.text(i++));
  span.span_id = row.natural(i++);
  span.parent_id = row.natural(i++);
  span.start = row.integer(i++);
  span.duration = row.natural(i++);
  span.kind = static_cast<uint8_t>(row.integer(i++));
  span.status = static_cast<uint8_t>(row.integer(i++));
  span.entry = row.integer(i++) != 0;
  span.name = row.text(i++);
  span.status_message = row.text(i++);
  span.service = row.text(i++);
  span.scope = row.text(i++);
  span.resource = row.natural(i++);
  span.http_method = row.text(i++);
  span.http_route = row.text(i++);
  span.http_status = static_cast<uint16_t>(row.integer(i++));
  span.db_system = row.text(i++);
  span.db_name = row.text(i++);
  span.db_operation = row.text(i++);
  span.db_table = row.text(i++);
  span.fingerprint = row.natural(i++);
  span.code_file = row.text(i++);
  span.code_function = row.text(i++);
  span.code_line = static_cast<uint32_t>(row.integer(i++));
  span.task = row.text(i++);
  span.queue = row.text(i++);
  span.nuages_kind = row.text(i++);
  span.query_count = static_cast<int32_t>(row.integer(i++));
  span.n_plus_one = row.integer(i++) != 0;
  span.max_repetitions = static_cast<uint32_t>(row.integer(i++));
  span.events = row.text(i++);
  span.links_json = row.text(i++);
  span.extra = row.text(i++);
  raw.promoted = row.text(i++);
  raw.lines = row.text(i++);
  const auto* traces = row.array(i++);
  const auto* ids = row.array(i);
  for (size_t link = 0; traces != nullptr && ids != nullptr && link < traces->size(); ++link) {
    span.links.push_back({trace_id_of(Row(*traces).text(link)), Row(*ids).natural(link)});
  }
  return raw;
}

template <typename Numbers>
std::string number_array(const Numbers& numbers) {
  std::string out = "[";
  for (const uint64_t number : numbers) {
    if (out.size() > 1) out += ',';
    out += std::to_string(number);
  }
  return out + "]";
}

Result<std::map<uint64_t, SqlText>> read_statements(store::Store& store,
                                                    const std::set<uint64_t>& fingerprints) {
  std::map<uint64_t, SqlText> texts;
  if (fingerprints.empty()) return texts;
  auto rows = Rows::select(store,
                           "SELECT fingerprint, any(text), any(label) FROM nuages.sqltext WHERE"
                           " fingerprint IN {list:Array(UInt64)} GROUP BY fingerprint",
                           {{"list", number_array(fingerprints)}});
  if (!rows) return rows.error();
  for (size_t i = 0; i < rows->size(); ++i) {
    const Row row = (*rows)[i];
    texts[row.natural(0)] = {std::string(row.text(1)), std::string(row.text(2))};
  }
  return texts;
}

Status read_resources(store::Store& store, const std::vector<SpanRecord>& spans,
                      std::map<uint64_t, std::string>& resources) {
  std::set<uint64_t> missing;
  for (const auto& span : spans) {
    if (!resources.contains(span.resource)) missing.insert(span.resource);
  }
  if (missing.empty()) return {};
  auto rows = Rows::select(store,
                           "SELECT hash, any(attributes) FROM nuages.resources WHERE hash IN"
                           " {list:Array(UInt64)} GROUP BY hash",
                           {{"list", number_array(missing)}});
  if (!rows) return rows.error();
  for (size_t i = 0; i < rows->size(); ++i) {
    resources[(*rows)[i].natural(0)] = (*rows)[i].text(1);
  }
  return {};
}

void read_recent(const store::RecentSpans& recent, const std::vector<TraceId>& ids,
                 TraceData& data) {
  recent.visit_blocks([&](const store::SpanBlock& block) {
    for (uint32_t row = 0; row < block.rows(); ++row) {
      if (std::find(ids.begin(), ids.end(), block.trace_id[row]) == ids.end()) continue;
      data.spans.push_back(record_from_block(block, row));
      const uint64_t resource = block.resource[row];
      if (const auto found = block.resources.find(resource); found != block.resources.end()) {
        data.resources.try_emplace(resource, found->second.attributes);
      }
    }
  });
}

Status read_stored(store::Store& store, const std::vector<TraceId>& ids, TraceData& data) {
  const std::string sql = std::string(kSpanSelect) + kOfTraces + " LIMIT {limit:UInt64}";
  auto rows = Rows::select(
      store, sql, {{"ids", id_array(ids)}, {"limit", std::to_string(kMaxSpansPerRead + 1)}});
  if (!rows) return rows.error();
  std::vector<RawSpan> read;
  std::set<uint64_t> fingerprints;
  data.truncated = rows->size() > kMaxSpansPerRead;
  for (size_t i = 0; i < std::min(rows->size(), kMaxSpansPerRead); ++i) {
    read.push_back(read_row((*rows)[i]));
    if (read.back().span.fingerprint != 0) fingerprints.insert(read.back().span.fingerprint);
  }
  auto texts = read_statements(store, fingerprints);
  if (!texts) return texts.error();
  for (RawSpan& raw : read) {
    if (const auto found = texts->find(raw.span.fingerprint); found != texts->end()) {
      raw.span.statement = found->second.text;
      raw.span.sql_label = found->second.label;
    }
    rebuild_attributes(raw.span, raw.promoted, raw.lines);
    data.spans.push_back(std::move(raw.span));
  }
  return {};
}

// Repeats: the same span sent twice in different batches, or seen in a recent block and the store.
// Spans of faulty SDKs that share an id but not name and start are different spans and stay.
void remove_repeats(std::vector<SpanRecord>& spans) {
  const auto key = [](const SpanRecord& span) {
    return std::tie(span.start, span.trace_id, span.span_id, span.name);
  };
  std::stable_sort(spans.begin(), spans.end(),
                   [&](const SpanRecord& a, const SpanRecord& b) { return key(a) < key(b); });
  spans.erase(
      std::unique(spans.begin(), spans.end(),
                  [&](const SpanRecord& a, const SpanRecord& b) { return key(a) == key(b); }),
      spans.end());
}

void sort_links(std::vector<LinkedSpan>& links) {
  const auto identity = [](const LinkedSpan& link) {
    return std::tie(link.trace_id, link.span_id, link.via_span_id, link.task);
  };
  std::sort(links.begin(), links.end(),
            [&](const LinkedSpan& a, const LinkedSpan& b) { return identity(a) < identity(b); });
  links.erase(std::unique(links.begin(), links.end(),
                          [&](const LinkedSpan& a, const LinkedSpan& b) {
                            return identity(a) == identity(b);
                          }),
              links.end());
}

// Who links to this trace.
Status read_incoming(const Source& source, TraceId trace_id, std::vector<LinkedSpan>& links) {
  if (source.recent != nullptr) {
    source.recent->visit_blocks([&](const store::SpanBlock& block) {
      uint64_t link = 0;
      for (uint32_t row = 0; row < block.rows(); ++row) {
        for (; link < block.link_ends[row]; ++link) {
          if (block.link_trace_id[link] != trace_id) continue;
          links.push_back({.trace_id = block.trace_id[row],
                           .span_id = block.span_id[row],
                           .via_span_id = block.link_span_id[link],
                           .task = true});
        }
      }
    });
  }
  auto rows = Rows::select(*source.store,
                           "SELECT lower(hex(from_trace_id)), from_span_id, to_span_id FROM"
                           " nuages.trace_links WHERE to_trace_id = unhex({id:String}) ORDER BY"
                           " from_ts LIMIT {limit:UInt64}",
                           {{"id", to_hex(trace_id)}, {"limit", std::to_string(kMaxLinks)}});
  if (!rows) return rows.error();
  for (size_t i = 0; i < rows->size(); ++i) {
    const Row row = (*rows)[i];
    links.push_back({.trace_id = trace_id_of(row.text(0)),
                     .span_id = row.natural(1),
                     .via_span_id = row.natural(2),
                     .task = true});
  }
  return {};
}

void describe(LinkedSpan& link, std::string_view name, std::string_view service, uint8_t status,
              int64_t start, uint64_t duration) {
  link.found = true;
  link.name = name;
  link.service = service;
  link.status = status;
  link.start = start;
  link.duration = duration;
}

Status describe_links(const Source& source, std::vector<LinkedSpan>& links) {
  std::map<std::pair<TraceId, SpanId>, std::vector<LinkedSpan*>> wanted;
  std::vector<TraceId> ids;
  std::set<uint64_t> span_ids;
  for (LinkedSpan& link : links) {
    wanted[{link.trace_id, link.span_id}].push_back(&link);
    ids.push_back(link.trace_id);
    span_ids.insert(link.span_id);
  }
  if (source.recent != nullptr) {
    source.recent->visit_blocks([&](const store::SpanBlock& block) {
      for (uint32_t row = 0; row < block.rows(); ++row) {
        const auto found = wanted.find({block.trace_id[row], block.span_id[row]});
        if (found == wanted.end()) continue;
        for (LinkedSpan* link : found->second) {
          describe(*link, block.name.at(row), block.service.at(row), block.status[row],
                   block.ts[row], block.duration[row]);
        }
      }
    });
  }
  auto rows = Rows::select(*source.store,
                           std::string("SELECT lower(hex(trace_id)), span_id, name, service,"
                                       " status, toUnixTimestamp64Nano(ts), duration FROM"
                                       " nuages.spans") +
                               kOfTraces + " AND span_id IN {spans:Array(UInt64)}",
                           {{"ids", id_array(ids)}, {"spans", number_array(span_ids)}});
  if (!rows) return rows.error();
  for (size_t i = 0; i < rows->size(); ++i) {
    const Row row = (*rows)[i];
    const auto found = wanted.find({trace_id_of(row.text(0)), row.natural(1)});
    if (found == wanted.end()) continue;
    for (LinkedSpan* link : found->second) {
      describe(*link, row.text(2), row.text(3), static_cast<uint8_t>(row.integer(4)),
               row.integer(5), row.natural(6));
    }
  }
  return {};
}

void append_outgoing(TraceId trace_id, const std::vector<SpanRecord>& spans,
                     std::vector<LinkedSpan>& links) {
  for (const auto& span : spans) {
    if (span.trace_id != trace_id) continue;
    for (const auto& link : span.links) {
      if (link.trace_id == trace_id || links.size() >= kMaxLinks) continue;
      links.push_back(
          {.trace_id = link.trace_id, .span_id = link.span_id, .via_span_id = span.span_id});
    }
  }
}

}  // namespace

Result<TraceData> read_traces(const Source& source, const std::vector<TraceId>& ids) {
  TraceData data;
  if (ids.empty()) return data;
  if (source.recent != nullptr) read_recent(*source.recent, ids, data);
  if (Status status = read_stored(*source.store, ids, data); !status) return status.error();
  remove_repeats(data.spans);
  if (Status status = read_resources(*source.store, data.spans, data.resources); !status) {
    return status.error();
  }
  return data;
}

Result<std::vector<LinkedSpan>> read_linked(const Source& source, TraceId trace_id,
                                            const std::vector<SpanRecord>& spans) {
  std::vector<LinkedSpan> links;
  append_outgoing(trace_id, spans, links);
  if (Status status = read_incoming(source, trace_id, links); !status) return status.error();
  std::erase_if(links, [&](const LinkedSpan& link) { return link.trace_id == trace_id; });
  sort_links(links);
  if (links.empty()) return links;
  if (links.size() > kMaxLinks) links.resize(kMaxLinks);
  if (Status status = describe_links(source, links); !status) return status.error();
  std::stable_sort(links.begin(), links.end(),
                   [](const LinkedSpan& a, const LinkedSpan& b) { return a.start < b.start; });
  return links;
}

Result<FollowedTraces> read_followed(const Source& source, TraceId trace_id) {
  FollowedTraces result;
  std::vector<TraceId> seen{trace_id};
  for (size_t next = 0; next < seen.size(); ++next) {
    auto data = read_traces(source, {seen[next]});
    if (!data) return data.error();
    auto links = read_linked(source, seen[next], data->spans);
    if (!links) return links.error();
    for (const auto& link : *links) {
      const bool known = std::find(seen.begin(), seen.end(), link.trace_id) != seen.end();
      if (!known && seen.size() < kMaxFollowedTraces) seen.push_back(link.trace_id);
    }
    if (next == 0) result.linked = std::move(*links);
    result.data.truncated |= data->truncated;
    result.data.resources.merge(data->resources);
    std::move(data->spans.begin(), data->spans.end(), std::back_inserter(result.data.spans));
    if (next == 0 && result.data.spans.empty()) break;
  }
  return result;
}

}  // namespace nuages::query
