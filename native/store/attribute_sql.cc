#include "store/attribute_sql.h"

#include "store/attribute_text.h"

namespace nuages::store {
namespace {

// Where a promoted attribute's value is, as text.
const char* column_text(Field field) {
  switch (field) {
    case Field::kHttpMethod:
      return "http_method";
    case Field::kHttpRoute:
      return "http_route";
    case Field::kHttpStatus:
      return "toString(http_status)";
    case Field::kDbSystem:
      return "db_system";
    case Field::kDbName:
      return "db_name";
    case Field::kDbOperation:
      return "db_operation";
    case Field::kDbTable:
      return "db_table";
    case Field::kFingerprint:
      return "toString(reinterpretAsInt64(fingerprint))";
    case Field::kStatement:
    case Field::kSqlLabel:
      break;  // kept once per fingerprint, in a table of their own
    case Field::kCodeFile:
      return "code_file";
    case Field::kCodeFunction:
      return "code_function";
    case Field::kCodeLine:
      return "toString(code_line)";
    case Field::kTask:
      return "task";
    case Field::kQueue:
      return "queue";
    case Field::kNuagesKind:
      return "nuages_kind";
    case Field::kQueryCount:
      return "toString(query_count)";
    case Field::kNPlusOne:
      return "if(n_plus_one = 1, 'true', 'false')";
    case Field::kMaxRepetitions:
      return "toString(max_repetitions)";
  }
  return "''";
}

}  // namespace

std::string promoted_condition(Field field, const std::string& key, const std::string& value) {
  const std::string text = "{" + value + ":String}";
  std::string holds = std::string(column_text(field)) + " = " + text;
  if (field == Field::kStatement || field == Field::kSqlLabel) {
    holds = std::string("fingerprint IN (SELECT fingerprint FROM nuages.sqltext WHERE ") +
            (field == Field::kStatement ? "text" : "label") + " = " + text + ")";
  }
  return "(has(splitByChar(',', promoted), {" + key + ":String}) AND " + holds + ")";
}

// Attributes are lines key=json; a text value may have been sent as a string or as a number.
std::string attribute_line_condition(const std::string& key, const std::string& value,
                                     Parameters& parameters) {
  std::string quoted;
  append_json_string(quoted, value);
  parameters["attribute_text"] = attribute_line(key, quoted);
  parameters["attribute_plain"] = attribute_line(key, value);
  return "hasAny(splitByChar('\\n', attributes), [{attribute_text:String},"
         " {attribute_plain:String}])";
}

std::string attribute_condition(const std::string& key, const std::string& value,
                                Parameters& parameters) {
  std::string holds = attribute_line_condition(key, value, parameters);
  if (const auto field = promoted_field(key)) {
    parameters["attribute_key"] = key;
    parameters["attribute_value"] = value;
    holds += " OR " + promoted_condition(*field, "attribute_key", "attribute_value");
  }
  return holds;
}

}  // namespace nuages::store
