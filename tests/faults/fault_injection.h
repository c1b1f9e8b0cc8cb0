#ifndef STREAMNORM_TESTS_FAULTS_FAULT_INJECTION_H_
#define STREAMNORM_TESTS_FAULTS_FAULT_INJECTION_H_

#include <cstdint>
#include <string>

namespace streamnorm {

// Takes the place of the C library's calls that change files, RocksDB's
// included, and lets them fail: linked into a test, or preloaded into a program
// (preload.cc). Only files under one directory are concerned. Safe for
// concurrent use.

// Everything below is about files under `directory`; nothing fails yet.
void WatchFilesUnder(const std::string& directory);

// What follows counts changing calls, but for those on RocksDB's LOG.

// SIGKILL in place of the `calls`-th changing call from now on (1 = the next).
// A write that is cut short so still writes its first half.
void KillAtCall(int64_t calls);

// The `calls`-th changing call from now on fails with `error`.
void FailCall(int64_t calls, int error);

// From the `calls`-th changing call from now on every write finds a full disk.
void FillDiskAtCall(int64_t calls);

// Changing calls since WatchFilesUnder.
int64_t CallsSeen();

// Calls of one kind, on files whose path ends so, fail until the next of these
// calls; "" = no file, "*" = every file.
void FailWritesTo(const std::string& path_ending, int error);
void FailSyncsOf(const std::string& path_ending, int error);

// Every sync takes up to so much longer, by chance.
void DelaySyncs(int64_t at_most_us);

// What statvfs says is free; negative = the truth.
void PretendFreeBytes(int64_t bytes);

// Adds a line `killed PATH` or `failed PATH` to the file `path` when one of
// these strikes.
void ReportTo(const std::string& path);

// Adds `line` to that file.
void ReportLine(const std::string& line);

// Notes in directory `notes` what a power loss would take back (DiskRecorder).
void RecordUnsynced(const std::string& notes);

}  // namespace streamnorm

#endif  // STREAMNORM_TESTS_FAULTS_FAULT_INJECTION_H_
