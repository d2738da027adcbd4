#include "export/fork.h"

#include <pthread.h>

#include <algorithm>
#include <mutex>
#include <vector>

#include "export/exporter.h"

namespace nuages::exporter {
namespace {

struct Registry {
  std::mutex mutex;
  std::vector<Exporter*> exporters;

  Registry() { pthread_atfork(&prepare, &parent, &child); }

  // Never destroyed: an abandoned thread may outlive static destruction.
  static Registry& instance() {
    static Registry* const registry = new Registry;
    return *registry;
  }
  static void prepare() {
    Registry& r = instance();
    r.mutex.lock();
    for (Exporter* each : r.exporters) each->lock_for_fork();
  }
  static void parent() {
    Registry& r = instance();
    for (Exporter* each : r.exporters) each->unlock_after_fork();
    r.mutex.unlock();
  }
  static void child() {
    Registry& r = instance();
    for (Exporter* each : r.exporters) {
      each->reset_in_child();
      each->unlock_after_fork();
    }
    r.mutex.unlock();
  }
};

}  // namespace

void register_exporter(Exporter* exporter) {
  Registry& r = Registry::instance();
  std::lock_guard guard(r.mutex);
  r.exporters.push_back(exporter);
}

void unregister_exporter(Exporter* exporter) {
  Registry& r = Registry::instance();
  std::lock_guard guard(r.mutex);
  r.exporters.erase(std::remove(r.exporters.begin(), r.exporters.end(), exporter),
                    r.exporters.end());
}

}  // namespace nuages::exporter
