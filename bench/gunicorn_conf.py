"""One quiet worker. The example's own configuration restarts workers and writes an access log, which is not what is measured."""

workers = 1
worker_class = "sync"
timeout = 120
graceful_timeout = 15


def post_worker_init(worker):
    print(f"worker {worker.pid} is up", flush=True)
