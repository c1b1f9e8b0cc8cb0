#ifndef STREAMNORM_STORAGE_MEMORY_STORE_H_
#define STREAMNORM_STORAGE_MEMORY_STORE_H_

#include <memory>

#include "storage/statistics_store.h"

namespace streamnorm {

// Keeps everything in this process: for tests, trials and as the peer that
// shows what durability costs. Sync does nothing; Load says at any time what is
// kept now; Backup and Verify are refused.
std::unique_ptr<StatisticsStore> NewMemoryStore();

}  // namespace streamnorm

#endif  // STREAMNORM_STORAGE_MEMORY_STORE_H_
