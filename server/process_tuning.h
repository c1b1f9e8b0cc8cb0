#ifndef STREAMNORM_SERVER_PROCESS_TUNING_H_
#define STREAMNORM_SERVER_PROCESS_TUNING_H_

namespace streamnorm {

// What a process that carries messages of megabytes wants of the C library and
// of Abseil. To be called first in main, before any thread exists.
void TuneProcess();

// Gives what the C library keeps back to the kernel. Slow: for after a start,
// which held every record of the store a second time.
void ReleaseUnusedMemory();

}  // namespace streamnorm

#endif  // STREAMNORM_SERVER_PROCESS_TUNING_H_
