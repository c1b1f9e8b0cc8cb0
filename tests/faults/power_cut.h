#ifndef STREAMNORM_TESTS_FAULTS_POWER_CUT_H_
#define STREAMNORM_TESTS_FAULTS_POWER_CUT_H_

#include <cstdint>
#include <random>
#include <string>

namespace streamnorm {

// A directory whose writers are recorded (DiskRecorder), so that the power can
// be cut: what was synced stays; of the rest, by chance, all, nothing or a part
// stays, some of it with bytes that nobody wrote. Names come and go in their
// order within a directory, without a sync up to any point. Not thread safe.
class RecordedDisk {
 public:
  // `path` holds `disk/`, the directory, and `notes/`. Makes both.
  explicit RecordedDisk(std::string path);

  const std::string& directory() const { return directory_; }
  const std::string& notes() const { return notes_; }

  // Nobody may write any more: the writers were killed.
  void CutPower(std::mt19937_64* random);

  // What is there now counts as synced, as if it had always been there: for a
  // test that changed files itself. Nobody may be writing.
  void Settle() const { BeginJournal(); }

  // What the last cut took.
  struct Loss {
    uint64_t bytes = 0;  // written, not synced and gone or changed
    uint64_t names = 0;  // changes of names undone
  };
  const Loss& loss() const { return loss_; }

 private:
  void BeginJournal() const;

  const std::string path_, directory_, notes_;
  Loss loss_;
};

}  // namespace streamnorm

#endif  // STREAMNORM_TESTS_FAULTS_POWER_CUT_H_
