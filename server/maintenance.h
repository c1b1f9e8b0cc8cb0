#ifndef STREAMNORM_SERVER_MAINTENANCE_H_
#define STREAMNORM_SERVER_MAINTENANCE_H_

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "server/mutex.h"
#include "storage/statistics_store.h"
#include "streamnorm/v1/admin_service.pb.h"

namespace streamnorm {

// Who asked for long work. Both are called from the thread that does it, or
// before the call that began it returns; neither may block.
template <typename Response>
struct Watcher {
  // How far it is, at last the result. An error ends the work: nobody waits.
  std::function<absl::Status(const Response&)> send;

  // Once, at the end.
  std::function<void(const absl::Status&)> done;
};

// Backups and verifications of the store while the committer writes to it: one
// at a time, on a thread of its own, which no request waits for. Safe for
// concurrent use.
class Maintenance {
 public:
  struct Options {
    std::string backup_dir;  // empty = no backups; else it exists

    // What a backup leaves free on its disk.
    uint64_t min_free_disk_bytes = 0;
  };

  // `store` outlives it.
  Maintenance(const Options& options, const StatisticsStore* store);
  ~Maintenance() { Stop(); }

  void CreateBackup(const v1::CreateBackupRequest& request,
                    Watcher<v1::CreateBackupResponse> watcher);
  void VerifyStore(const v1::VerifyStoreRequest& request,
                   Watcher<v1::VerifyStoreResponse> watcher);

  // Gives up what runs, and refuses what comes. Returns when all is done.
  void Stop();

 private:
  // Does the work, and answers what tells its end.
  using Job = std::function<std::function<void()>()>;

  absl::Status CheckRequest(const v1::CreateBackupRequest& request) const;
  absl::Status Begin(Job job);
  void Run();

  // `send` with every progress, as long as the work is to go on.
  template <typename Response>
  OnStoreProgress ProgressTo(const Watcher<Response>& watcher) const;

  absl::Status Backup(const std::string& backup_id,
                      const Watcher<v1::CreateBackupResponse>& watcher) const;
  absl::Status Verify(const Watcher<v1::VerifyStoreResponse>& watcher) const;

  const Options options_;
  const StatisticsStore* const store_;
  std::atomic<bool> stopping_{false};
  Mutex mu_;
  std::condition_variable changed_;
  Job job_ ABSL_GUARDED_BY(mu_);               // to be taken by the thread
  bool running_ ABSL_GUARDED_BY(mu_) = false;  // one is, or is to be taken
  std::thread thread_;
};

}  // namespace streamnorm

#endif  // STREAMNORM_SERVER_MAINTENANCE_H_
