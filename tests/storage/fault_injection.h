#ifndef STREAMNORM_TESTS_STORAGE_FAULT_INJECTION_H_
#define STREAMNORM_TESTS_STORAGE_FAULT_INJECTION_H_

#include <cstdint>
#include <string>

namespace streamnorm {

// Linked into a test, this takes the place of the C library's calls that change
// files, RocksDB's included, and lets them fail. Only files under one directory
// are concerned. Safe for concurrent use.

// Everything below is about files under `directory`; nothing fails yet.
void WatchFilesUnder(const std::string& directory);

// What follows counts changing calls, but for those on RocksDB's LOG.

// SIGKILL in place of the `calls`-th changing call from now on (1 = the next).
// A write that is cut short so still writes its first half.
void KillAtCall(int64_t calls);

// Changing calls since WatchFilesUnder.
int64_t CallsSeen();

// Calls of one kind, on files whose path ends so, fail until the next of these
// calls; "" = no file, "*" = every file.
void FailWritesTo(const std::string& path_ending, int error);
void FailSyncsOf(const std::string& path_ending, int error);

// What statvfs says is free; negative = the truth.
void PretendFreeBytes(int64_t bytes);

}  // namespace streamnorm

#endif  // STREAMNORM_TESTS_STORAGE_FAULT_INJECTION_H_
