#ifndef STREAMNORM_STORAGE_ROCKSDB_LOG_H_
#define STREAMNORM_STORAGE_ROCKSDB_LOG_H_

#include <memory>
#include <string>

namespace rocksdb {
class Logger;
}  // namespace rocksdb

namespace streamnorm {

// What RocksDB says about itself, appended to <directory>/LOG. At 1 MiB that
// becomes LOG.old, in the place of the one before. What can't be written is
// dropped: RocksDB 7.8's own log ends the process at its second failed write
// (WritableFileWriter::AssertFalseAndGetStatusForPrevError; Debian builds with
// assertions), so on a full disk. Safe for concurrent use.
std::shared_ptr<rocksdb::Logger> NewRocksdbLog(const std::string& directory);

}  // namespace streamnorm

#endif  // STREAMNORM_STORAGE_ROCKSDB_LOG_H_
