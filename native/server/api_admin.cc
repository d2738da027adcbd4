// What administrators ask for by POST: erasing, backing up, checking.
//
// Their parameters come as a JSON object in the body: values to erase do not belong into addresses,
// which proxies log.
#include <boost/json.hpp>

#include "server/api_routes.h"

namespace nuages::server::api {
namespace {

// Reads the members of a body, and refuses the ones it does not know.
class Body {
 public:
  explicit Body(const Request& request) {
    boost::system::error_code error;
    boost::json::value value =
        boost::json::parse(request.body.empty() ? "{}" : request.body, error);
    if (error || !value.is_object()) {
      error_ = Error{ErrorCode::kInvalid, "the body must be a JSON object"};
    } else {
      object_ = std::move(value.as_object());
    }
  }
  std::string text(const char* name) {
    const auto* member = find(name);
    if (member == nullptr) return {};
    if (const auto* found = member->if_string()) return {found->data(), found->size()};
    refuse(name, "a string");
    return {};
  }
  bool boolean(const char* name) {
    const auto* member = find(name);
    if (member == nullptr) return false;
    if (const auto* found = member->if_bool()) return *found;
    refuse(name, "true or false");
    return false;
  }
  void refuse(const std::string& name, const std::string& expected) {
    if (!error_) error_ = Error{ErrorCode::kInvalid, "'" + name + "' must be " + expected};
  }
  Status finish() {
    for (const auto& [key, value] : object_) {
      const std::string name(key);
      if (error_ || known_.find("," + name + ",") != std::string::npos) continue;
      error_ = Error{ErrorCode::kInvalid, "there is no '" + name + "' here"};
    }
    if (error_) return *error_;
    return {};
  }

 private:
  const boost::json::value* find(const std::string& name) {
    known_ += "," + name + ",";
    return object_.if_contains(name);
  }

  boost::json::object object_;
  std::string known_;
  std::optional<Error> error_;
};

Error not_here() {
  return {ErrorCode::kUnavailable, "this server cannot do that: it has no store of its own"};
}

void write_backups(query::JsonWriter& json, const ApiOptions& options) {
  json.key("backups").begin_array();
  if (options.backups) {
    for (const std::string& folder : options.backups()) json.string(folder);
  }
  json.end_array();
}

}  // namespace

Response erase(const Context& context) {
  Body body(context.request);
  const std::string trace = body.text("trace_id");
  const std::string attribute = body.text("attribute");
  store::EraseRequest request;
  if (trace.empty() == attribute.empty()) {
    body.refuse("trace_id", "given, or 'attribute', and not both");
  } else if (!trace.empty()) {
    request.trace = trace_id_from_hex(trace);
    if (!request.trace) body.refuse("trace_id", "32 hexadecimal digits, not all zero");
  } else {
    const size_t equals = attribute.find('=');
    if (equals == 0 || equals == std::string::npos) {
      body.refuse("attribute", "key=value, for example user.id=42");
    } else {
      request.attribute_key = attribute.substr(0, equals);
      request.attribute_value = attribute.substr(equals + 1);
    }
  }
  if (Status good = body.finish(); !good) return error_response(good.error());
  if (!context.options.erase) return error_response(not_here());
  const auto report = context.options.erase(request);
  if (!report) return error_response(report.error());
  query::JsonWriter json;
  json.begin_object().field("spans", report->spans);
  json.field("quarantined_requests", report->quarantined_requests);
  json.field("quarantined_files", report->quarantined_files);
  json.key("days").begin_array();
  for (const std::string& day : report->days) json.string(day);
  json.end_array();
  write_backups(json, context.options);
  json.end_object();
  return json_response(std::move(json));
}

Response make_backup(const Context& context) {
  Body body(context.request);
  const std::string folder = body.text("folder");
  if (!folder.starts_with('/')) {
    body.refuse("folder", "an absolute path of the server's machine that does not exist yet");
  }
  if (Status good = body.finish(); !good) return error_response(good.error());
  if (!context.options.backup) return error_response(not_here());
  const auto manifest = context.options.backup(folder);
  if (!manifest) return error_response(manifest.error());
  const auto spans = manifest->rows.find("spans");
  query::JsonWriter json;
  json.begin_object().field("folder", std::string_view(folder));
  json.field("spans", spans == manifest->rows.end() ? uint64_t{0} : spans->second);
  write_backups(json, context.options);
  json.end_object();
  return json_response(std::move(json));
}

Response check(const Context& context) {
  Body body(context.request);
  const bool repair = body.boolean("repair");
  if (Status good = body.finish(); !good) return error_response(good.error());
  if (!context.options.check) return error_response(not_here());
  const auto report = context.options.check(repair);
  if (!report) return error_response(report.error());
  query::JsonWriter json;
  json.begin_object().field("good", report->good());
  json.key("lines").begin_array();
  for (const store::CheckLine& line : report->lines) {
    json.begin_object().field("good", line.good).field("text", std::string_view(line.text));
    json.end_object();
  }
  json.end_array().end_object();
  return json_response(std::move(json));
}

}  // namespace nuages::server::api
