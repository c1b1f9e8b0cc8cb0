#ifndef STREAMNORM_SERVER_PROCESS_TUNING_H_
#define STREAMNORM_SERVER_PROCESS_TUNING_H_

namespace streamnorm {

// What a process that carries messages of megabytes wants of the C library and
// of Abseil. To be called first in main, before any thread exists.
void TuneProcess();

}  // namespace streamnorm

#endif  // STREAMNORM_SERVER_PROCESS_TUNING_H_
