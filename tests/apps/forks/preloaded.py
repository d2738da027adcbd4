"""What the multiprocessing fork server imports before it forks."""

import processes

processes.spans("fork server", 5)
