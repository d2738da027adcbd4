// Boost.JSON is used header-only: this is the one place that compiles its definitions.
#include <boost/json/src.hpp>
